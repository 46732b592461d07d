"""From a recipe to the frozen Keras model and its feature space."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass

import h5py
import keras
import numpy as np
import tensorflow as tf

from extractor.backbone_table import BACKBONES
from extractor.fingerprint import graph_digest, output_layer_name, weights_digest
from extractor.recipe import Recipe
from storage.errors import PermafrostError, UsageError
from storage.space import Space


@dataclass(frozen=True)
class Backbone:
    """The frozen network without its top. `model` maps [N, H, W, 3] float32, already preprocessed, to the last feature map."""

    model: keras.Model
    recipe: Recipe
    space: Space


def build(recipe: Recipe) -> Backbone:
    """Build the network and load its weights. Raises UsageError for weights that do not fit it."""
    if keras.backend.backend() != "tensorflow":
        raise UsageError(f"KERAS_BACKEND is {keras.backend.backend()!r}: set it to 'tensorflow' for extraction")
    _pin_keras()
    model = _with_weights(recipe)
    model.trainable = False
    space = Space(
        graph=graph_digest(model),
        weights=weights_digest(model),
        layer=output_layer_name(model),
        pooling=recipe.pooling,
        input_size=recipe.input_size,
        image_policy=recipe.image_policy,
        preprocessing=recipe.preprocessing,
        precision=recipe.precision,
        dtype=recipe.dtype,
    )
    return Backbone(model, recipe, space)


def _pin_keras() -> None:
    """Settings that ~/.keras/keras.json or the program may have changed, and that would change values or graph behind the recipe."""
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)


def _with_weights(recipe: Recipe) -> keras.Model:
    if recipe.weights == "imagenet":
        try:
            with redirect_stdout(sys.stderr):  # Keras shows its download on stdout, which belongs to --json
                return _bare_model(recipe, "imagenet")
        except Exception as error:  # noqa: BLE001 - keras.utils.get_file raises bare Exception when the download fails
            raise PermafrostError(
                f"the ImageNet weights of {recipe.name} could not be downloaded ({_first_line(error)}). "
                "Without a network, pass --weights FILE (an .h5 weights file) or --weights random:SEED"
            ) from None
    if recipe.weights.startswith("random:"):
        # On the CPU, because initialisers are only reproducible on one kind of device.
        with tf.device("CPU"):
            keras.utils.set_random_seed(int(recipe.weights.removeprefix("random:")))
            return _bare_model(recipe, None)
    model = _bare_model(recipe, None)
    _load_tensors(model, recipe)
    return model


def _bare_model(recipe: Recipe, weights: str | None) -> keras.Model:
    builder = getattr(keras.applications, BACKBONES[recipe.name].builder)
    try:
        return builder(include_top=False, weights=weights, input_shape=(recipe.input_size, recipe.input_size, 3))
    except ValueError as error:
        if "Input size must be at least" in str(error):
            raise UsageError(f"--input-size {recipe.input_size} is too small for {recipe.name}: {_first_line(error)}") from None
        raise


def _load_tensors(model: keras.Model, recipe: Recipe) -> None:
    """Load an `.h5` file as tensors, by layer order; a model description inside it is never looked at.

    Not through `Model.load_weights`, which takes the file's word for shapes and picks its reader by the file's name.
    """
    try:
        with h5py.File(recipe.weights, "r") as file:
            _refuse_links(file, recipe.weights)
            stored = _stored_layers(file, recipe.weights)
            layers = [layer for layer in model.layers if layer.weights]
            expected = [(layer.name, [tuple(weight.shape) for weight in layer.weights]) for layer in layers]
            received = [(name, [tuple(tensor.shape) for tensor in tensors]) for name, tensors in stored]
            if [shapes for _, shapes in expected] != [shapes for _, shapes in received]:
                raise UsageError(_misfit(recipe, expected, received))
            for layer, (_, tensors) in zip(layers, stored, strict=True):
                layer.set_weights([np.asarray(tensor, np.float32) for tensor in tensors])
    except UsageError:
        raise
    except _HDF5_SYMPTOMS as error:
        raise UsageError(f"--weights {recipe.weights} is not a readable HDF5 file of weights ({_first_line(error)})") from None


_Layers = list[tuple[str, list[tuple[int, ...]]]]
# What h5py raises, beside OSError, for files whose parts are missing, of other kinds, or run in circles.
_HDF5_SYMPTOMS = (OSError, KeyError, TypeError, AttributeError, ValueError, RecursionError, RuntimeError)


def _stored_layers(file: h5py.File, path: str) -> list[tuple[str, list[h5py.Dataset]]]:
    """Names and tensors of the layers with weights, in the file's own order (Keras' `.h5` weight layout)."""
    group = file["model_weights"] if "model_weights" in file and "layer_names" not in file.attrs else file
    if "layer_names" not in group.attrs:
        kind = (
            "it is in the layout of Keras 3's .weights.h5"
            if "layers" in file or "_layer_checkpoint_dependencies" in file
            else "it has no 'layer_names'"
        )
        raise UsageError(f"--weights {path} is not in the .h5 layout of keras.applications' weights: {kind}")
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs["layer_names"]]
    layers = [(name, [group[name][weight] for weight in group[name].attrs["weight_names"]]) for name in names]
    return [(name, tensors) for name, tensors in layers if tensors]


def _refuse_links(file: h5py.File, path: str) -> None:
    """An HDF5 file can point into other files; a weights file has no business there."""

    def check(group: h5py.Group) -> None:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UsageError(f"--weights {path} is refused: {name!r} in it is a link, possibly to another file")
            member = group[name]
            if isinstance(member, h5py.Group):
                check(member)
            elif member.external or member.is_virtual:
                raise UsageError(f"--weights {path} is refused: the data of {name!r} lies in another file")

    check(file)


def _misfit(recipe: Recipe, expected: _Layers, received: _Layers) -> str:
    lines = [
        f"the weights in {recipe.weights} do not fit {recipe.name} without top:",
        f"  {recipe.name} has {len(expected)} layers with weights, the file {len(received)}",
    ]
    for i, ((name, shapes), (stored_name, stored)) in enumerate(zip(expected, received, strict=False)):
        if shapes != stored:
            lines.append(f"  first difference, layer {i}: expected {name} {shapes}, the file has {stored_name} {stored}")
            break
    lines.append(
        "The file is of another architecture or width, or it includes the classification top; pass the no-top weights of this backbone"
    )
    return "\n".join(lines)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
