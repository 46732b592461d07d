"""Backbones from a `.keras` model file. The file is taken for hostile: it is checked before Keras sees it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import h5py
import keras

from extractor.inlined import inlined
from extractor.keras_session import without_values
from extractor.recipe import Recipe, check_input_size
from extractor.weights_file import open_tensors
from storage.errors import UsageError

_CONFIG, _METADATA, _TENSORS = "config.json", "metadata.json", "model.weights.h5"  # members of the archive, all that there may be
MAX_CONFIG_BYTES = 32 << 20  # 32 MiB; NASNetLarge, the longest of keras.applications, has 1 MiB
MAX_TENSOR_BYTES = 8 << 30  # 8 GiB
MAX_EXPANSION = 20  # of an archive's member, or of a compressed tensor; Keras itself does not compress

# Classes are only taken from Keras, and there from where layers and their parts live: a file must not get other code imported or called.
_MODULES = (
    "keras",
    "keras.activations",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.initializers",
    "keras.layers",
    "keras.models",
    "keras.ops",
    "keras.quantizers",
    "keras.regularizers",
    "builtins",
)
_INNER_MODULES = ("keras.src.applications.", "keras.src.models.", "keras.src.layers.", "keras.src.ops.")
# These run what is in the file, read other files that it names, or are not for images.
_REFUSED = frozenset(
    {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TextVectorization", "StringLookup"}
    | {"IntegerLookup", "Hashing", "HashedCrossing", "FeatureSpace", "MelSpectrogram", "STFTSpectrogram"}
)


def load_model_file(recipe: Recipe) -> tuple[keras.Model, Recipe]:
    """The model, and the recipe with its input size. Raises UsageError for a file that is unsafe, broken or no model of images."""
    called = f"--backbone {recipe.name}"
    try:
        with zipfile.ZipFile(recipe.name) as archive:
            config = _read_config(archive, called)
            tensor_bytes = _check_tensors(archive, called)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise error if isinstance(error, UsageError) else _broken(called, error) from None
    _check_objects(config, called)
    _check_size(config, tensor_bytes, called)
    try:
        model = keras.saving.load_model(recipe.name, compile=False, safe_mode=True)
    except Exception as error:  # noqa: BLE001 - Keras raises whatever the broken part runs into
        raise _broken(called, error) from None
    return as_image_network(model, recipe)


def as_image_network(model: keras.Model, recipe: Recipe, own_size: int = 0) -> tuple[keras.Model, Recipe]:
    """A model of RGB images as a plain functional one, and the recipe with its input size: stated, fixed in the model, or `own_size`.

    Plain, because the configuration of a class such as KerasHub's says nothing of the graph, and a Sequential has none to cut.
    Raises UsageError for any other model, and for a stated size that contradicts a fixed one.
    """
    called = f"--backbone {recipe.name}"
    if not getattr(model, "inputs", None):
        raise UsageError(f"{called} is refused: {type(model).__name__} is no functional or sequential model, so its graph cannot be told")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UsageError(
            f"{called} has {len(model.inputs)} inputs and {len(model.outputs)} outputs: expected one image in, one feature out"
        )
    shape, dtype = tuple(model.inputs[0].shape), model.inputs[0].dtype
    if len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2] or dtype != "float32":
        raise UsageError(f"{called} takes {dtype} {shape}: expected square RGB images, float32 [N, H, W, 3]")
    if half := [layer.name for layer in model.layers if layer.compute_dtype != "float32"]:
        raise UsageError(f"{called} does not compute in float32 (layer {half[0]}): save it with the dtype policy float32")
    fixed = shape[1]
    if fixed and recipe.input_size not in (0, fixed):
        raise UsageError(f"--input-size {recipe.input_size}: {recipe.name} takes images of {fixed} pixels and no others")
    size = recipe.input_size or fixed or own_size
    if not size:
        raise UsageError(f"state --input-size: {recipe.name} takes images of any size")
    check_input_size(size)
    return inlined(keras.Model(model.inputs[0], model.outputs[0])), replace(recipe, input_size=size)


def _read_config(archive: zipfile.ZipFile, called: str) -> Any:
    members = {member.filename: member for member in archive.infolist()}
    if odd := set(members) - {_CONFIG, _METADATA, _TENSORS}:
        raise UsageError(f"{called} is refused: unexpected {sorted(odd)[0]!r} in it; a model of layers has {_CONFIG} and {_TENSORS} only")
    for name, limit in ((_CONFIG, MAX_CONFIG_BYTES), (_TENSORS, MAX_TENSOR_BYTES)):
        if name not in members:
            raise UsageError(f"{called} is no model in the .keras format: it has no {name}")
        member = members[name]
        if member.file_size > min(limit, MAX_EXPANSION * member.compress_size + 1024):
            raise UsageError(f"{called} is refused: {name} in it would become {member.file_size} bytes, from {member.compress_size}")
    try:
        return json.loads(archive.read(_CONFIG))
    except RecursionError:
        raise UsageError(f"{called} is refused: {_CONFIG} in it is nested too deeply") from None


def _check_tensors(archive: zipfile.ZipFile, called: str) -> int:
    """Bytes of all tensors. Raises UsageError for links, and for tensors that claim more than is stored."""
    claimed = 0

    def add(_: str, member: h5py.Group | h5py.Dataset) -> None:
        nonlocal claimed
        if isinstance(member, h5py.Dataset):
            if member.nbytes > MAX_EXPANSION * member.id.get_storage_size() + 1024:
                raise UsageError(f"{called} is refused: {member.name} in it claims {member.nbytes} bytes and stores fewer")
            claimed += member.nbytes

    with open_tensors(io.BytesIO(archive.read(_TENSORS)), called) as file:
        file.visititems(add)
    return claimed


def _check_objects(config: Any, called: str) -> None:
    for item in _walk(config):
        name = item.get("class_name")
        if not isinstance(name, str) or "config" not in item:
            continue
        if name in _REFUSED:
            raise UsageError(f"{called} is refused: it holds a {name}, which could run code or read other files")
        module = item.get("module") or "builtins"
        if module not in _MODULES and not str(module).startswith(_INNER_MODULES):
            way_out = "; pass a model of KerasHub as hub:FOLDER" if str(module).startswith("keras_hub") else ""
            raise UsageError(
                f"{called} is refused: {module}.{name} in it is code from outside Keras' layers, which is not imported{way_out}"
            )
        if foreign := _registered(item):
            raise UsageError(f"{called} is refused: {foreign} in it is code from outside Keras' layers, which is not imported")


def _registered(item: dict[str, Any]) -> str:
    """The name, PACKAGE>NAME, under which somebody registered the class or function that is meant; "" of Keras' own.

    Keras looks it up before any module, in what this process has registered; a class of its main program has no module in the file at all.
    """
    names = (item["class_name"], item.get("registered_name"), item["config"])
    return next((name for name in names if isinstance(name, str) and ">" in name), "")


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    """All dicts inside of a JSON value, without recursion: the value may be nested deeply."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _check_size(config: Any, tensor_bytes: int, called: str) -> None:
    """Build the model without values, which costs nothing however large it says it is, and compare with what the file stores."""
    try:
        with without_values():
            model = keras.saving.deserialize_keras_object({**config, "compile_config": None}, safe_mode=True)
            described = 4 * model.count_params()
    except Exception as error:  # noqa: BLE001 - Keras raises whatever the broken part runs into
        raise _broken(called, error) from None
    if described > 2 * tensor_bytes + 1024:
        raise UsageError(f"{called} is refused: it describes {described} bytes of weights and stores {tensor_bytes}")


def _broken(called: str, error: BaseException) -> UsageError:
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return UsageError(f"{called} cannot be loaded as a model in the .keras format: {first_line}")
