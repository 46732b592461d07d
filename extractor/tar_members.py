"""The members of a tar archive, from its headers alone: ustar, GNU long names and pax (POSIX.1-2017, "pax Interchange Format")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from tarfile import HeaderError, TarInfo

from extractor.container import Container, Window
from storage.errors import DamagedError

BLOCK = 512
MAX_EXTENDED_BYTES = 1 << 20  # of one long name or pax header
MAX_PADDING = 1 << 20  # zeros between the end mark and what a concatenated archive may hold; tar itself pads to 10 KiB
_ZEROS = bytes(BLOCK)
_FILES, _LINKS, _FOLDER, _WITHOUT_DATA = (b"0", b"\0", b"7"), (b"1", b"2"), b"5", (b"1", b"2", b"3", b"4", b"5", b"6")


@dataclass(frozen=True)
class Member:
    """A member that is no folder. Its name has surrogates for bytes that are no UTF-8."""

    name: str
    start: int
    size: int
    problem: str = ""  # why its bytes are not to be had


@dataclass(frozen=True)
class CutOff:
    """The archive ends before its end mark; what followed is lost."""

    offset: int
    name: str = ""  # of the member that is cut, if one is


@dataclass
class _Extended:
    """What extended headers say of the member after them."""

    name: str | None = None
    size: int | None = None
    sparse: bool = False


@dataclass
class _Position:
    at: int = 0
    zeros: int = 0  # blocks of zeros just passed: the end mark
    said: _Extended = field(default_factory=_Extended)


def tar_members(container: Container, window: Window, archive: str) -> Iterator[Member | CutOff]:
    """Stream the members, without reading them. Archives that were concatenated are read to the end of the last one.

    Python's `tarfile` parses a header block but does not walk the archive: it keeps all members, reads extended headers of any size into
    memory and stops at a first end mark. archive: its name in messages. Raises DamagedError where there is no header, or a hostile one.
    """
    position = _Position()
    while position.at < container.size:
        block = window.read(position.at, BLOCK)
        if block == _ZEROS:
            position.zeros += 1
            position.at += BLOCK
            if position.zeros * BLOCK > MAX_PADDING:
                return
            continue
        header = _header(block, archive, position)
        if header is None:
            break
        position.zeros = 0
        found = _step(header, block, container, window, position, archive)
        if found:
            yield found
        if isinstance(found, CutOff):
            return
    if not position.zeros:
        yield CutOff(position.at)


def _header(block: bytes, archive: str, position: _Position) -> TarInfo | None:
    """None where the archive ends: at a cut block, or at what somebody put behind the end mark."""
    try:
        header = TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if header.size >= 0:
            return header
        error: Exception = ValueError("a negative size")
    except (HeaderError, ValueError) as found:
        error = found
    if position.zeros or (position.at and len(block) < BLOCK):
        return None
    if position.at == 0:
        raise DamagedError(f"{archive} is not an uncompressed tar archive ({error} at offset 0)")
    raise DamagedError(f"{archive} is damaged: no tar header at offset {position.at} ({error}); what followed is lost")


def _step(header: TarInfo, block: bytes, container: Container, window: Window, position: _Position, archive: str) -> Member | CutOff | None:
    """What a header stands for; the position moves behind its data."""
    said = position.said
    start = position.at + BLOCK
    if header.type == b"S":
        start = _after_sparse_map(block, window, start)
    size = header.size if said.size is None else said.size
    if header.type in _WITHOUT_DATA:
        size = 0
    if start + size > container.size:
        return CutOff(position.at, said.name or header.name)
    if header.type in (b"L", b"x", b"X"):
        _require_modest(header, archive, position.at)
        data = window.read(start, header.size)
        if header.type == b"L":
            said.name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        else:
            _read_pax(data, said, f"{archive} is damaged: a bad pax header at offset {position.at}; what followed is lost")
        size = header.size
    position.at = start + -(-size // BLOCK) * BLOCK
    if header.type in (b"L", b"K", b"x", b"X", b"g"):
        return None
    position.said = _Extended()
    if header.type == _FOLDER:
        return None
    return Member(said.name or header.name, start, size, _problem(header, said))


def _problem(header: TarInfo, said: _Extended) -> str:
    if said.sparse or header.type == b"S":
        return "a sparse file, whose bytes do not lie together"
    if header.type in _LINKS:
        return "a link"
    return "" if header.type in _FILES else "a device or pipe"


def _after_sparse_map(block: bytes, window: Window, start: int) -> int:
    """GNU's old sparse format: the map of holes goes on in further blocks while a flag says so."""
    more = block[482]
    while more:
        block = window.read(start, BLOCK)
        start += BLOCK
        more = block[504] if len(block) == BLOCK else 0
    return start


def _require_modest(header: TarInfo, archive: str, at: int) -> None:
    if header.size > MAX_EXTENDED_BYTES:
        raise DamagedError(
            f"{archive} has an extended header of {header.size} bytes at offset {at}, the limit is {MAX_EXTENDED_BYTES}; what followed is "
            "lost"
        )


def _read_pax(data: bytes, said: _Extended, damage: str) -> None:
    """Records of `LENGTH KEY=VALUE` and a line end, the length being that of the whole record."""
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 20)
        if space < 0 or not data[at:space].isdigit():
            raise DamagedError(damage)
        end = at + int(data[at:space])
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not space < end <= len(data) or not equals:
            raise DamagedError(damage)
        if key in (b"path", b"GNU.sparse.name"):
            said.name = value.decode("utf-8", "surrogateescape")
        elif key == b"size":
            if not value.isdigit() or len(value) > 18:
                raise DamagedError(damage)
            said.size = int(value)
        said.sparse |= key.startswith(b"GNU.sparse.")
        at = end
