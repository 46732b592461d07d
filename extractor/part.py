"""Where in a container an item's bytes are, written at the end of its location: `a.tar#bytes=000000001536+2048`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BYTES, _NUMBER = r"([0-9]{1,18})\+([0-9]{1,18})", r"([0-9]{1,18})"
_PART = re.compile(rf"#(?:bytes={_BYTES}|record={_BYTES}&image={_BYTES}|group={_NUMBER}&row={_NUMBER})\Z")


# Padded numbers: sorted as text, the locations of one container are in the order in which they lie there.
@dataclass(frozen=True)
class ByteRange:
    """`length` bytes from `start` on. Not the `first-last` of HTTP, which cannot say that there are none."""

    start: int
    length: int

    def __str__(self) -> str:
        return f"#bytes={self.start:012d}+{self.length}"


@dataclass(frozen=True)
class RecordImage:
    """`length` bytes, from `start` of a TFRecord's data on. The record is read whole: its checksum is that of all its data."""

    record: ByteRange
    start: int
    length: int

    def __str__(self) -> str:
        return f"#record={self.record.start:012d}+{self.record.length}&image={self.start}+{self.length}"


@dataclass(frozen=True)
class ParquetRow:
    """A row of a row group, both counted from 0."""

    group: int
    row: int

    def __str__(self) -> str:
        return f"#group={self.group:06d}&row={self.row:08d}"


Part = ByteRange | RecordImage | ParquetRow


def row_parts(group: int, rows: int) -> list[str]:
    """The parts of all rows of a row group, as text: of ten million, twice as fast as one by one."""
    begin = f"#group={group:06d}&row="
    return [f"{begin}{row:08d}" for row in range(rows)]


def split_part(location: str) -> tuple[str, Part | None]:
    """The container and the part of it; a location that names no part is a file of its own."""
    found = _PART.search(location)
    if not found:
        return location, None
    numbers = [int(number) for number in found.groups() if number]
    return location[: found.start()], _part(found[0].partition("=")[0], numbers)


def _part(kind: str, numbers: list[int]) -> Part:
    if kind == "#bytes":
        return ByteRange(*numbers)
    return ParquetRow(*numbers) if kind == "#group" else RecordImage(ByteRange(*numbers[:2]), *numbers[2:])
