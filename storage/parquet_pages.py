"""What a Parquet footer says of a column: where its values stand in the file, for plain, uncompressed ones of fixed length without nulls,
and what the least one is.

The footer is read here once more, because PyArrow 26 ends the process for some damaged ones when it is asked about a column chunk
(C++ exceptions that `libparquet.pxd` does not declare, as of an unknown compression).

Source: FileMetaData, ColumnMetaData, PageHeader and DataPageHeader in apache/parquet-format `parquet.thrift`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.thrift import read_struct

_DATA_PAGE, _PLAIN, _UNCOMPRESSED = 0, 0, 0
_TYPE, _FULL_SIZE, _STORED_SIZE, _DATA_HEADER = 1, 2, 3, 5  # fields of PageHeader
_VALUES, _ENCODING = 1, 2  # of DataPageHeader
_ROW_GROUPS, _COLUMNS, _CHUNK = 4, 1, 3  # of FileMetaData, RowGroup, ColumnChunk
_PATH, _CODEC, _CHUNK_SIZE, _FIRST_PAGE, _STATISTICS = 3, 4, 7, 9, 12  # of ColumnMetaData
_LEAST = 6  # of Statistics: min_value
_LONGEST_HEADER = 1 << 10
_TAIL = 8  # bytes after the footer: its length, "PAR1"


Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Page:
    """`values` values from byte `offset` of the file on."""

    values: int
    offset: int


def column_chunks(file: Bytes, column: str) -> list[tuple[int, int]]:
    """(first byte, bytes) of a column's chunk in each row group. Raises ValueError."""
    chunks = _chunks(file, column)
    if any(chunk.get(_CODEC) != _UNCOMPRESSED for chunk in chunks):
        raise ValueError(f"the column {column} is compressed, which those of shards are not")
    with _told(column):
        return [(int(chunk[_FIRST_PAGE]), int(chunk[_CHUNK_SIZE])) for chunk in chunks]


def least_values(file: Bytes, column: str) -> list[bytes | None]:
    """The least value of a column in each row group, as the footer has it; None where it has none, as of values over 4,096 bytes.

    Raises ValueError.
    """
    with _told(column):
        return [chunk.get(_STATISTICS, {}).get(_LEAST) for chunk in _chunks(file, column)]


def _chunks(file: Bytes, column: str) -> list[dict[int, Any]]:
    """ColumnMetaData of a column in each row group."""
    length = int.from_bytes(file[-_TAIL:-4].tobytes(), "little")
    footer, _ = read_struct(file[max(0, len(file) - _TAIL - length) : -_TAIL].tobytes())
    with _told(column):
        of_groups = [[chunk[_CHUNK] for chunk in group[_COLUMNS]] for group in footer[_ROW_GROUPS]]
        return [next(chunk for chunk in chunks if chunk[_PATH] == [column.encode()]) for chunks in of_groups]


@contextmanager
def _told(column: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, IndexError, KeyError, StopIteration, TypeError) as error:
        raise ValueError(f"the footer does not say what is in the column {column} ({type(error).__name__}: {error})") from None


def pages_of(file: Bytes, start: int, size: int, width: int) -> Iterator[Page]:
    """The pages of a column chunk that takes `size` bytes from `start` on. Raises ValueError."""
    end = start + size
    if not 0 <= start <= end <= len(file):
        raise ValueError(f"a column chunk would be at bytes {start}:{end} of {len(file)}")
    while start < end:
        header, length = read_struct(file[start : min(start + _LONGEST_HEADER, end)].tobytes())
        about = header.get(_DATA_HEADER)
        about = about if isinstance(about, dict) else {}
        values, stored = about.get(_VALUES), header.get(_STORED_SIZE)
        plain = about.get(_ENCODING) == _PLAIN and header.get(_TYPE) == _DATA_PAGE and header.get(_FULL_SIZE) == stored
        if not plain or not isinstance(values, int) or values < 0 or values * width != stored:
            raise ValueError(f"the page at byte {start} is not one of {width}-byte values as they are: {header}")
        yield Page(values, start + length)
        start += length + stored
    if start != end:
        raise ValueError(f"the pages of a column end at byte {start}, its chunk at {end}")
