"""Where in a container an item's bytes are, written at the end of its location: `a.tar#bytes=000000001536+2048`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PART = re.compile(r"#(?:bytes=([0-9]{1,18})\+([0-9]{1,18})|group=([0-9]{1,9})&row=([0-9]{1,18}))\Z")


# Padded numbers: sorted as text, the locations of one container are in the order in which they lie there.
@dataclass(frozen=True)
class ByteRange:
    """`length` bytes from `start` on. Not the `first-last` of HTTP, which cannot say that there are none."""

    start: int
    length: int

    def __str__(self) -> str:
        return f"#bytes={self.start:012d}+{self.length}"


@dataclass(frozen=True)
class ParquetRow:
    """A row of a row group, both counted from 0."""

    group: int
    row: int

    def __str__(self) -> str:
        return f"#group={self.group:06d}&row={self.row:08d}"


def row_parts(group: int, rows: int) -> list[str]:
    """The parts of all rows of a row group, as text: of ten million, twice as fast as one by one."""
    begin = f"#group={group:06d}&row="
    return [f"{begin}{row:08d}" for row in range(rows)]


def split_part(location: str) -> tuple[str, ByteRange | ParquetRow | None]:
    """The container and the part of it; a location that names no part is a file of its own."""
    found = _PART.search(location)
    if not found:
        return location, None
    start, length, group, row = found.groups()
    part = ByteRange(int(start), int(length)) if start else ParquetRow(int(group), int(row))
    return location[: found.start()], part
