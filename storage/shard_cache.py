"""Listed files of remote stores on this machine: by content, checked when they enter, and bounded; what is used last stays longest.

Any number of processes may share one cache, and lose nothing but time if they evict each other's files: a file that is open or mapped
stays readable when its name is gone, and one that is gone is fetched again.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TypeVar

from storage.disk import move, private_path
from storage.errors import DamagedError, PermafrostError, UsageError
from storage.patience import full_disk_told
from storage.place import RemotePlace

DEFAULT_BYTES = 20 << 30
UNFINISHED = "unfinished"  # no file of a store: work of fits whose heads go to a bucket
MAX_FETCHES = 10  # of one file, each after another process has cleared the cache meanwhile
UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST})  # the last two: a file is in the way
Opened = TypeVar("Opened")


def cache_folder() -> Path:
    """PERMAFROST_CACHE, or the folder of this user's caches."""
    chosen = os.environ.get("PERMAFROST_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "permafrost"


def cache_bytes() -> int:
    """PERMAFROST_CACHE_BYTES, or 20 GiB. Raises UsageError."""
    text = os.environ.get("PERMAFROST_CACHE_BYTES") or str(DEFAULT_BYTES)
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"PERMAFROST_CACHE_BYTES should be a number of bytes, such as {DEFAULT_BYTES}; it is {text!r}")
    return int(text)


def unfinished_folder() -> Path:
    """Where fits keep what is done until their heads are written, if these go to a bucket; no eviction touches it."""
    return cache_folder() / UNFINISHED


@contextmanager
def _cache_told() -> Iterator[None]:
    """Say of a folder that takes nothing that it is the cache, and no damage of the set."""
    with full_disk_told(f"the cache {cache_folder()}: set PERMAFROST_CACHE to a folder with more room"):
        try:
            yield
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            raise PermafrostError(f"the cache {cache_folder()} cannot be written ({error.strerror}): set PERMAFROST_CACHE") from None


@_cache_told()
def open_cached(place: RemotePlace, sha256: str, size: int, opener: Callable[[Path], Opened]) -> Opened:
    """What `opener` makes of the file's path here. Raises FileNotFoundError if the store has no such file, DamagedError if it has another
    one under its name, PermafrostError if the cache takes nothing."""
    path = cache_folder() / sha256[:2] / place.name
    for _ in range(MAX_FETCHES):
        with suppress(FileNotFoundError):
            if path.stat().st_size == size:
                os.utime(path)
                return opener(path)
        chunks = place.backend.chunks(place.key)
        first = next(chunks, b"")  # if a file is not there from here on, then in the cache
        try:
            opened = _fetch(chain([first], chunks), place, sha256, path, opener)
        except FileNotFoundError as error:
            problem = error.strerror or str(error)
            continue
        _evict(keep=path)
        return opened
    raise PermafrostError(
        f"the cache {cache_folder()} cannot be kept ({problem}): set PERMAFROST_CACHE to a folder that can be made, and that nobody clears "
        "all the time"
    )


def _fetch(chunks: Iterable[bytes], place: RemotePlace, sha256: str, path: Path, opener: Callable[[Path], Opened]) -> Opened:
    """Raises FileNotFoundError where another process clears the cache meanwhile, or it cannot be made."""
    with private_path(path.parent) as partial:
        checksum = hashlib.sha256()
        with open(partial, "wb") as file:
            for chunk in chunks:
                checksum.update(chunk)
                file.write(chunk)
        if checksum.hexdigest() != sha256:
            raise DamagedError(f"{place} is damaged: its sha256 is not the one that its manifest lists")
        opened = opener(partial)  # before anybody can evict it
        with suppress(FileNotFoundError):  # it is open, and the next reader fetches it again
            move(partial, path)
    return opened


def forget(sha256: str) -> bool:
    """Remove a file from the cache; whether it was there."""
    found = list(cache_folder().glob(f"{sha256[:2]}/{sha256}.*"))
    for path in found:
        path.unlink(missing_ok=True)
    return bool(found)


def drop_changed(sha256: str) -> bool:
    """Remove this machine's copies of a file whose bytes have changed since they entered; whether there was one."""
    changed = False
    for path in cache_folder().glob(f"{sha256[:2]}/{sha256}.*"):
        with suppress(FileNotFoundError):  # another process may evict it
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256:
                path.unlink()
                changed = True
    return changed


def cached_files() -> list[Path]:
    """All of them, those that are being fetched too; another process may remove them meanwhile."""
    with suppress(FileNotFoundError):  # a folder that goes while it is read
        return [path for path in cache_folder().glob("*/*") if path.parent.name != UNFINISHED]
    return []


def _evict(keep: Path) -> None:
    """Remove what was not used for longest, until the cache is within its bound."""
    found = []
    for path in cached_files():
        with suppress(FileNotFoundError):
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    over = sum(size for _, size, _ in found) - cache_bytes()
    for _, size, path in sorted(found):
        if over <= 0:
            return
        if path != keep and not path.name.startswith("."):  # another process is fetching that one
            path.unlink(missing_ok=True)
            over -= size
