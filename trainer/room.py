"""Memory for features that TensorFlow takes as it is, without a copy."""

from __future__ import annotations

import weakref
from math import prod

import numpy as np
import tensorflow as tf

from trainer.arrays import Array, Tensor

# TensorFlow takes NumPy's memory from `tf.numpy_function` as it is if it begins at a multiple of this (EIGEN_MAX_ALIGN_BYTES), else it
# copies it; large arrays of NumPy begin 16 bytes after one.
ALIGNMENT = 64


def aligned_room(shape: tuple[int, ...], dtype: str | np.dtype[np.generic]) -> Array:
    """An array that is not filled yet."""
    size = prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def aligned(features: Array) -> Array:
    """The same array if TensorFlow takes it as it is, else a copy that it does."""
    if features.flags.c_contiguous and features.ctypes.data % ALIGNMENT == 0:
        return features
    copy = aligned_room(features.shape, features.dtype)
    copy[...] = features
    return copy


def as_tensor(features: Array) -> Tensor:
    """A tensor of the array's own memory, if that is aligned and may be written to; else of a copy. Do not change the array afterwards.

    `tf.constant` always copies, and memory of NumPy a second time, because it is not aligned: 6.6 ms for 32 MiB. TensorFlow ends the
    process where DLPack hands it memory that is not aligned, and NumPy hands over none that is read-only.
    """
    if features.flags.c_contiguous and features.flags.writeable and features.ctypes.data % ALIGNMENT == 0 and features.size:
        return tf.experimental.dlpack.from_dlpack(features.__dlpack__())  # type: ignore[misc]  # of numbers only, says NumPy's stub
    return tf.constant(features)


class Rooms:
    """Arrays of one shape that are used again when nobody, TensorFlow included, holds them any longer.

    A new array of 64 MiB for each window made reading it four times slower: the kernel fills its pages with zeros first.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self._shape, self._dtype = shape, dtype
        self._free: list[Array] = []

    def take(self) -> Array:
        try:
            room = self._free.pop()
        except IndexError:
            room = aligned_room(self._shape, self._dtype)
        # By way of a memoryview of its own, which all views of the array hold: views of an array hold the one that owns the memory.
        lent = np.frombuffer(room.data.cast("B"), self._dtype)
        weakref.finalize(lent.base, self._free.append, room).atexit = False
        return lent.reshape(self._shape)
