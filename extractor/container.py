"""A container: one file, here or on an object store, that holds many items. Read at places, never whole."""

from __future__ import annotations

import io
import os
import weakref
from collections import deque
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from extractor.content import is_uri, open_remote, read_stamp
from storage.errors import NotFoundError, PermafrostError
from storage.remote_errors import remote_error

# What a small read fetches at least. Here a page; over the network enough for the small members beside an image, which are requests spared,
# and not so much that the images are fetched by the way.
LOCAL_WINDOW, REMOTE_WINDOW = 4 << 10, 16 << 10
_AGAIN = "run again, or take it out of the corpus: its images then count as deleted"
_COLUMN_BUFFER = 1 << 20  # Parquet columns are read in steps of this size; without it Arrow fetches a whole column chunk, of any size


class Container:
    """An open container. Raises NotFoundError for what is not there, PermafrostError for what cannot be read."""

    def __init__(self, location: str) -> None:
        """location: a path or URI."""
        self.location = location
        stamp = read_stamp(location)
        if stamp.reason:
            raise NotFoundError(f"cannot read {location}: {stamp.message}")
        if stamp.bytes is None:
            raise PermafrostError(f"cannot read {location}: {stamp.message}; {_AGAIN}")
        self.size, self.stamp = stamp.bytes, stamp.value
        self._remote = open_remote(location) if is_uri(location) else None
        if not self._remote:
            self._file = self._open()
            self._close = weakref.finalize(self, os.close, self._file)  # readers of row groups have no end of their own

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._remote:
            self._close()

    def read(self, start: int, length: int) -> bytes:
        """The bytes from `start` on; fewer than `length` at the end of the container only."""
        length = min(length, self.size - start)
        if length <= 0:
            return b""
        if self._remote:
            return self._read_remote(start, length)
        try:
            return os.pread(self._file, length, start)
        except OSError as error:
            raise PermafrostError(f"cannot read {self.location} at offset {start}: {error.strerror}; {_AGAIN}") from None

    def _open(self) -> int:
        try:
            return os.open(self.location, os.O_RDONLY)
        except OSError as error:
            raise PermafrostError(f"cannot read {self.location}: {error.strerror}; {_AGAIN}") from None

    def _read_remote(self, start: int, length: int) -> bytes:
        import obstore
        from obstore.exceptions import BaseError

        assert self._remote
        store, path = self._remote
        try:
            return bytes(obstore.get_range(store, path, start=start, length=length))
        except (BaseError, OSError, ValueError) as error:
            raise PermafrostError(
                f"cannot read {length} bytes of {self.location} at offset {start}: {remote_error(error)}; {_AGAIN}"
            ) from None


class Window:
    """Small reads at ascending places of a container, from few requests. The caller limits what it asks for."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._least = REMOTE_WINDOW if is_uri(container.location) else LOCAL_WINDOW
        # Two: a record that holds an image has something to be read on both sides of it, and in both directions.
        self._blocks: deque[tuple[int, bytes]] = deque([(0, b"")], maxlen=2)

    def read(self, start: int, length: int) -> bytes:
        for first, data in self._blocks:
            if first <= start and start + length <= first + len(data):
                return data[start - first : start - first + length]
        data = self._container.read(start, max(length, self._least))
        self._blocks.appendleft((start, data))
        return data[:length]


class _File(io.RawIOBase):
    """A container as the file object that Arrow wants."""

    def __init__(self, container: Container) -> None:
        self._container, self._at = container, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._container.size)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        data = self._container.read(self._at, self._container.size if size < 0 else size)
        self._at += len(data)
        return data


def open_parquet(container: Container, metadata: Any = None) -> pq.ParquetFile:
    """The container as a Parquet file that is read in steps; Arrow's errors for what is none."""
    return pq.ParquetFile(pa.PythonFile(_File(container), "r"), metadata=metadata, buffer_size=_COLUMN_BUFFER, pre_buffer=False)
