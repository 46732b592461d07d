"""The frozen network as a fast function from uint8 images to embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from extractor.backbones import Backbone
from extractor.cut import outputs_of
from extractor.keras_session import without_values
from storage.errors import UsageError

# One --local extraction of 300 photographs into 224-pixel maps (random weights, 2 cores) peaks at 1.36 GiB resident with ResNet50,
# 32 images a batch, and at 1.14 GiB with VGG16, 10 a batch: 0.7 GiB of that is TensorFlow. With frozen weights ResNet50 took 2.8 GiB.
MAX_BATCH_CPU, MAX_BATCH_GPU = 32, 128  # images; larger ones are no faster
BATCH_BYTES_CPU, BATCH_BYTES_GPU = 256 << 20, 4 << 30  # 256 MiB, 4 GiB
MAX_IMAGE_BYTES = 8 << 30  # 8 GiB
MAX_FROZEN_BYTES = 32 << 20  # 32 MiB


class TensorFlowEngine:
    """Preprocessing, network and pooling in one graph with one static signature; a short last batch is padded.

    The variables of a small network are frozen to constants, which lets Grappler fold BatchNorm into convolutions: 170 against 113
    images/s for MobileNetV2 at 224 pixels on two cores, with equal values. A large one would gain little (ResNet50 25 against 22
    images/s, VGG16 nothing) and pay in memory, some 20 times its weights at the peak.
    """

    def __init__(self, backbone: Backbone, batch_size: int | None = None, further: Sequence[Backbone] = ()) -> None:
        """further: other cuts of the same network, which one forward pass gives as well (`backbones.build_together`)."""
        tf.config.experimental.enable_tensor_float_32_execution(False)  # precision float32 means float32
        self._backbones = (backbone, *further)
        self.input_size = backbone.recipe.input_size
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        self._trace(batch_size or min(_batch_size(each, on_gpu) for each in self._backbones))

    def __call__(self, images: tf.Tensor) -> npt.NDArray[np.float32]:
        """Embed uint8 [n, size, size, 3], n >= 1, at the first cut; returns float32 [n, *shape]. Otherwise as `embed`."""
        return self.embed(images)[0]

    def embed(self, images: tf.Tensor) -> list[npt.NDArray[np.float32]]:
        """Embed uint8 [n, size, size, 3], n >= 1; returns float32 [n, *shape] of each cut.

        Where the memory does not suffice, the batch size halves, for good. Raises ResourceExhaustedError when it is 1 already.
        """
        done: list[list[npt.NDArray[np.float32]]] = []
        start, n = 0, int(images.shape[0])
        while start < n:
            try:
                done.append(self._embed(images[start : start + self.batch_size]))
            except tf.errors.ResourceExhaustedError:
                if self.batch_size == 1:
                    raise
                self._trace(self.batch_size // 2)
            else:
                start += len(done[-1][0])
        return done[0] if len(done) == 1 else [np.concatenate(parts) for parts in zip(*done, strict=True)]

    def _embed(self, images: tf.Tensor) -> list[npt.NDArray[np.float32]]:
        n = int(images.shape[0])
        if n < self.batch_size:
            images = tf.pad(images, [[0, self.batch_size - n], [0, 0], [0, 0], [0, 0]])
        return [np.asarray(features.numpy()[:n], np.float32) for features in self._function(images)]

    def _trace(self, batch_size: int) -> None:
        self.batch_size = batch_size
        signature = tf.TensorSpec((batch_size, self.input_size, self.input_size, 3), tf.uint8)
        traced = tf.function(_forward(self._backbones), input_signature=[signature], autograph=False).get_concrete_function()
        small = 4 * max(each.model.count_params() for each in self._backbones) <= MAX_FROZEN_BYTES
        self._function = convert_variables_to_constants_v2(traced) if small else traced
        self.shapes = [tuple(output.shape[1:]) for output in traced.outputs]
        self.shape: tuple[int, ...] = self.shapes[0]


def image_bytes(backbone: Backbone) -> int:
    """Bytes that one image takes at the widest place: the float32 input, and the largest activation as input and output of a layer."""
    size = backbone.recipe.input_size
    model = backbone.model
    if None in model.inputs[0].shape[1:]:
        model = at_fixed_size(model, size)
    widest: int = max(math.prod(tensor.shape[1:]) for tensors in outputs_of(model).values() for tensor in tensors)
    return 4 * (3 * size**2 + 2 * widest)


def at_fixed_size(model: keras.Model, size: int) -> keras.Model:
    """A twin without values, whose shapes are those for images of `size` pixels."""
    config = model.get_config()
    first = next(layer for layer in config["layers"] if layer["class_name"] == "InputLayer")
    first["config"]["batch_shape"] = (None, size, size, 3)
    with without_values():
        return keras.Model.from_config(config)


def _batch_size(backbone: Backbone, on_gpu: bool) -> int:
    """Images a batch, by bytes. Raises UsageError for a network that no machine has the memory for."""
    needed = image_bytes(backbone)
    if needed > MAX_IMAGE_BYTES:
        where = f"{backbone.recipe.name} at {backbone.recipe.input_size} pixels"
        raise UsageError(f"{where} needs {needed / 2**30:.1f} GiB for one image; choose a smaller --input-size")
    budget, most = (BATCH_BYTES_GPU, MAX_BATCH_GPU) if on_gpu else (BATCH_BYTES_CPU, MAX_BATCH_CPU)
    return max(1, min(most, budget // needed))


def _forward(backbones: Sequence[Backbone]):  # type: ignore[no-untyped-def]
    preprocessing = backbones[0].recipe.preprocessing
    first = backbones[0].model
    # The cuts share their layers, so that together they are one graph, in which each layer is computed once.
    model = first if len(backbones) == 1 else keras.Model(first.inputs, [backbone.model.outputs[0] for backbone in backbones])

    def forward(images: tf.Tensor) -> list[tf.Tensor]:
        x = tf.cast(images, tf.float32)
        if preprocessing != "none":
            x = keras.applications.imagenet_utils.preprocess_input(x, mode=preprocessing)
        features = model(x, training=False)
        of_each = features if isinstance(features, list) else [features]
        return [_pooled(each, backbone.recipe.pooling) for each, backbone in zip(of_each, backbones, strict=True)]

    return forward


def _pooled(features: tf.Tensor, pooling: str) -> tf.Tensor:
    positions = list(range(1, features.shape.rank - 1))  # height and width of a map, tokens of a sequence
    if pooling == "avg":
        return tf.reduce_mean(features, axis=positions)
    return tf.reduce_max(features, axis=positions) if pooling == "max" else features
