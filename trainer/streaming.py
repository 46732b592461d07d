"""Features that exceed the memory budget: read from the store a window at a time, each time in the order that is wanted next."""

from __future__ import annotations

import numpy as np

from storage.row_reader import RowReader
from trainer.arrays import Array, Numbers
from trainer.input_pipeline import MAKERS, WAITING
from trainer.room import Rooms
from trainer.shuffle_plan import ShufflePlan

# That are held at a time, as counted in a run: one is read, one waits, one is used; the others are batches on their way, and what
# TensorFlow gives back at its next call of Python only.
WINDOWS = 5


class Streamed:
    """The source of items that a reader numbers; see `input_pipeline.Source`."""

    def __init__(self, reader: RowReader, plan: ShufflePlan, batch_size: int, views: int) -> None:
        self.shape, self.dtype, self.views = reader.layout.shape, np.dtype(reader.layout.dtype), views
        self._reader = reader
        self._rooms = Rooms((longest_segment(plan, batch_size), *self.shape), reader.layout.dtype)

    def take(self, items: Numbers, views: Numbers) -> tuple[Array, Numbers]:
        room = self._rooms.take()
        return room, self._reader.read(items, views, room)


def longest_segment(plan: ShufflePlan, batch_size: int) -> int:
    """Items of it at most."""
    return min(plan.size, batch_size * int(np.diff(plan.segments(batch_size)).max(initial=0)))


def bytes_streamed(plan: ShufflePlan, batch_size: int, embedding_bytes: int) -> int:
    return WINDOWS * longest_segment(plan, batch_size) * embedding_bytes


def bytes_of_batches(batch_size: int, values: int) -> int:
    """What batches of so many embeddings of so many values take on their way: in float32, and while they are made as they are stored."""
    return batch_size * values * (4 * (MAKERS + WAITING + 1) + 4 * MAKERS)
