from __future__ import annotations

import gc

import numpy as np
import pytest
import tensorflow as tf

from trainer.room import ALIGNMENT, Rooms, aligned, aligned_room, as_tensor

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("shape", [(3, 5), (1000, 2, 3)])
def test_rooms_begin_where_tensorflow_wants_them(shape: tuple[int, ...]) -> None:
    room = aligned_room(shape, "float16")
    assert (room.shape, room.dtype, room.ctypes.data % ALIGNMENT) == (shape, np.float16, 0)


def test_tensorflow_takes_them_without_a_copy() -> None:
    room = aligned_room((4, 3), "float16")
    room[:] = 1
    [found] = tf.data.Dataset.range(1).map(lambda _: tf.numpy_function(lambda: room, [], tf.float16))
    room[:] = 2
    assert found.numpy().tolist() == [[2] * 3] * 4


def test_only_what_tensorflow_would_copy_is_copied() -> None:
    room = aligned_room((4, 3), "float16")
    room[:] = 1
    assert aligned(room) is room
    for other in (room[1:], room[:, :2], room.T):
        copy = aligned(other)
        assert (copy == other).all()
        assert copy.flags.c_contiguous
        assert copy.ctypes.data % ALIGNMENT == 0


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_a_tensor_is_the_memory_of_a_room_and_keeps_it(dtype: str) -> None:
    rooms = Rooms((4, 16), dtype)
    room = rooms.take()
    room[:] = 3
    tensor = as_tensor(room)
    room[:] = 7
    assert (tensor.numpy() == 7).all()
    del room
    gc.collect()
    rooms.take()[:] = 1
    assert (tensor.numpy() == 7).all()


def test_memory_that_tensorflow_cannot_take_is_copied() -> None:
    room = aligned_room((4, 3), "float16")
    room[:] = 1
    read_only = room.view()
    read_only.flags.writeable = False
    for other in (room[1:], room[:, :2], room.T, read_only, room[:0]):
        tensor = as_tensor(other)
        np.testing.assert_array_equal(tensor.numpy(), other)
    assert (as_tensor(read_only).numpy() == 1).all()


def test_a_room_is_used_again_when_nobody_holds_it() -> None:
    rooms = Rooms((2, 3), "float32")
    first, second = rooms.take(), rooms.take()
    assert not np.shares_memory(first, second)
    address, part = first.ctypes.data, first[1:]
    del first
    gc.collect()
    third = rooms.take()
    assert third.ctypes.data != address  # `part` holds it
    del part, third
    gc.collect()
    assert address in [room.ctypes.data for room in [rooms.take(), rooms.take()]]
