"""How many images an engine takes at once: planned from the bytes that one image needs. Runs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras

from extractor.backbones import Backbone
from extractor.cut import outputs_of
from extractor.keras_session import without_values
from storage.errors import UsageError

# One --local extraction of 300 photographs into 224-pixel maps (random weights, 2 cores) peaks at 1.36 GiB resident with ResNet50,
# 32 images a batch, and at 1.14 GiB with VGG16, 10 a batch: 0.7 GiB of that is TensorFlow. With frozen weights ResNet50 took 2.8 GiB.
MAX_BATCH_CPU, MAX_BATCH_GPU = 32, 128  # images; larger ones are no faster
BATCH_BYTES_CPU, BATCH_BYTES_GPU = 256 << 20, 4 << 30  # 256 MiB, 4 GiB
MAX_IMAGE_BYTES = 8 << 30  # 8 GiB


def plan_batch_size(backbones: Sequence[Backbone], on_gpu: bool) -> int:
    """Images a batch for cuts of one network. Raises UsageError for a network that no machine has the memory for."""
    return min(_batch_size(each, on_gpu) for each in backbones)


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
    needed = image_bytes(backbone)
    if needed > MAX_IMAGE_BYTES:
        where = f"{backbone.recipe.name} at {backbone.recipe.input_size} pixels"
        raise UsageError(f"{where} needs {needed / 2**30:.1f} GiB for one image; choose a smaller --input-size")
    budget, most = (BATCH_BYTES_GPU, MAX_BATCH_GPU) if on_gpu else (BATCH_BYTES_CPU, MAX_BATCH_CPU)
    return max(1, min(most, budget // needed))
