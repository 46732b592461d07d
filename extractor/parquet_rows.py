"""Images out of Parquet files, one after another: each row group is decoded once, in steps, however many of its rows are asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pyarrow as pa

from extractor.container import Container, open_parquet
from extractor.content import is_uri, read_stamp
from extractor.parquet_images import image_column
from extractor.part import ParquetRow
from storage.damage import damage_named
from storage.errors import DamagedError

# One step is what must be in memory at least: hostile rows are 128 MiB each, or larger and then not kept.
STEP_ROWS = 8
KEPT_BYTES = 128 << 20  # of a row group's images, behind the last one read: all of it where it is no larger, as usual
MIN_KEPT_STEPS = 3  # the pipeline's threads ask for eight rows at a time, in any order
MAX_UNPACKED, MAX_RATIO = 512 << 20, 20  # bytes of a row group that may be more than twenty times the file
MAX_OPEN = 4  # row groups at once in this process


class _RowGroup:
    """Images of one row group, in ascending order mostly; going back further than what is kept starts again."""

    def __init__(self, container: Container, group: int) -> None:
        self._container, self._group = container, group
        self._lock = threading.Lock()
        self._steps: Iterator[pa.RecordBatch] = iter(())
        self._kept: deque[tuple[int, pa.Array]] = deque()
        self._next = self._bytes = 0
        self._is_open = False

    def image(self, row: int) -> bytes | None:
        with self._lock:
            if not self._is_open or (self._kept and row < self._kept[0][0]):
                self._begin()
            while row >= self._next:
                self._step()
            first, images = next((first, images) for first, images in reversed(self._kept) if first <= row)
            image: bytes | None = images[row - first].as_py()
            return image

    def _begin(self) -> None:
        file = open_parquet(self._container, _metadata(self._container.location, self._container.stamp))
        column = image_column(file.schema_arrow)
        if column is None:
            raise DamagedError(f"{self._container.location} has no images any more; run again")
        _require_no_bomb(file.metadata.row_group(self._group).total_byte_size, self._container)
        self._steps = file.iter_batches(STEP_ROWS, row_groups=[self._group], columns=[column.bytes], use_threads=False)
        self._kept.clear()
        self._next = self._bytes = 0
        self._is_open = True

    def _step(self) -> None:
        batch = next(self._steps, None)
        if batch is None:
            raise DamagedError(f"{self._container.location} has fewer rows than when it was listed; run again")
        images = batch.column(0)
        images = images.flatten()[0] if pa.types.is_struct(images.type) else images
        self._kept.append((self._next, images))
        self._next += len(images)
        self._bytes += images.nbytes
        while self._bytes > KEPT_BYTES and len(self._kept) > MIN_KEPT_STEPS:
            self._bytes -= self._kept.popleft()[1].nbytes


def _require_no_bomb(unpacked: int, container: Container) -> None:
    """Encoded images do not shrink; a page of gigabytes of zeros does, and Arrow unpacks pages whole.

    Not by the sizes of the column: pyarrow 26's `RowGroupMetaData.column` aborts the process on some damaged footers.
    """
    if unpacked > max(MAX_UNPACKED, MAX_RATIO * container.size):
        raise DamagedError(
            f"{container.location} is refused: a row group of {unpacked} bytes in a file of {container.size}; no images shrink so"
        )


_open: OrderedDict[tuple[str, str, int], _RowGroup] = OrderedDict()
_lock = threading.Lock()


def read_row(location: str, part: ParquetRow) -> bytes | None:
    """The encoded image of a row; None where it has none. Raises PermafrostError for what cannot be read."""
    with damage_named(location, "Parquet file"):
        return _row_group(location, part.group).image(part.row)


def _row_group(location: str, group: int) -> _RowGroup:
    # A server is not asked anew for each row: there, what was opened once stays as it was for the life of the process, which is one run.
    stamp = "" if is_uri(location) else read_stamp(location).value
    key = (location, stamp, group)
    with _lock:
        if key not in _open:
            _open[key] = _RowGroup(Container(location), group)
            while len(_open) > MAX_OPEN:
                _open.popitem(last=False)
        _open.move_to_end(key)
        return _open[key]


@lru_cache(maxsize=MAX_OPEN)
def _metadata(location: str, stamp: str) -> Any:
    """The footer, which every row group of the file needs."""
    with Container(location) as container:
        return open_parquet(container).metadata
