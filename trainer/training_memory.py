"""Whether a batch fits into memory, asked before the kernel ends the process over it."""

from __future__ import annotations

import math
import os

import keras
import tensorflow as tf

from storage.errors import UsageError

FLOAT_BYTES = 4


def require_room(model: keras.Model, batch_size: int) -> None:
    """Raise UsageError if the activations of a batch, which training keeps for the gradients, exceed the free memory of this machine.

    On a GPU TensorFlow itself says so when it happens, and the batch is halved.
    """
    if tf.config.list_logical_devices("GPU"):
        return
    needed, free = activation_bytes(model), os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed * batch_size > free:
        fitting = max(1, 2 ** int(math.log2(max(1, free // needed))))
        raise UsageError(
            f"a batch of {batch_size} images needs about {needed * batch_size / 2**30:.1f} GiB to train the network, and "
            f"{free / 2**30:.1f} GiB are free: try --batch-size {fitting}, or a set of a smaller --input-size"
        )


def activation_bytes(model: keras.Model) -> int:
    """Of one image: what all layers give, in float32."""
    found = 0
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += activation_bytes(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            outputs = layer.output if isinstance(layer.output, list) else [layer.output]
            found += sum(FLOAT_BYTES * math.prod(output.shape[1:]) for output in outputs)
    return found
