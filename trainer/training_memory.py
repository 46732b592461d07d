"""Whether a batch of images fits into memory, asked before the kernel ends the process over it."""

from __future__ import annotations

import keras
import tensorflow as tf

from storage.errors import UsageError
from trainer.memory import available_bytes, training_bytes


def require_room(model: keras.Model, batch_size: int) -> None:
    """Raise UsageError if a training step on a batch takes more than the free memory of this machine.

    On a GPU TensorFlow itself says so when it happens, and the batch is halved.
    """
    if tf.config.list_logical_devices("GPU"):
        return
    needed, free = whole_bytes(model), available_bytes()
    if needed * batch_size > free:
        fitting = 1 << max(0, (free // needed).bit_length() - 1)
        raise UsageError(
            f"a batch of {batch_size} images needs about {needed * batch_size / 2**30:.1f} GiB to train the network, and "
            f"{free / 2**30:.1f} GiB are free: try --batch-size {fitting}, or a set of a smaller --input-size"
        )


def whole_bytes(model: keras.Model) -> int:
    """Of one image in a training step, with the models inside the model."""
    return training_bytes(model) + sum(whole_bytes(layer) for layer in model.layers if isinstance(layer, keras.Model))
