"""The one door to bytes, on disks and in remote stores: whole files, atomic writes, exclusive creation, listing, checksums."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from storage.damage import MEND_LISTED
from storage.disk import Disk, move, private_path, remove_private_paths, sha256_file
from storage.errors import DamagedError, NotFoundError
from storage.place import Backend, Place
from storage.shard_cache import drop_changed, open_cached
from storage.temporary import room_told

_DISK = Disk()
Opened = TypeVar("Opened")


@dataclass(frozen=True)
class FileEntry:
    """A file as a manifest lists it: path relative to the set, sha256 in hex, size in bytes, rows."""

    path: str
    sha256: str
    bytes: int
    rows: int


@contextmanager
def private_file(folder: Place, owner: str = "") -> Iterator[Path]:
    """Yield a new local path for what is to be published in `folder`; whatever still lies there at the end is removed.

    owner: begins the name, so that `remove_private_files` can clean up after a process that was killed.
    """
    with private_path(_work_folder(folder), owner) as path:
        yield path


def remove_private_files(folder: Place, owner: str) -> None:
    """Remove what processes of `owner` on this machine left behind for `folder`; none of them may be at work any more."""
    remove_private_paths(_work_folder(folder), owner)


def give_up_room(partial: Path) -> None:
    """Free the blocks of a private file that nobody will finish, though a writer, kept by an error's traceback, may hold it open."""
    with suppress(FileNotFoundError):  # it was published already
        os.truncate(partial, 0)


def publish_by_content(partial: Path, folder: Place, suffix: str, listed: Collection[str] = ()) -> tuple[str, int]:
    """Give a finished private file its content name `<sha256><suffix>` in `folder`; return (sha256, bytes).

    listed: sha256 of files of this kind that a version lists, which need not be sent again. That a name is there is not enough: garbage
    collection may be about to remove what no version lists.
    """
    digest, size = sha256_file(partial), partial.stat().st_size
    if digest not in listed:
        publish_as(partial, folder / f"{digest}{suffix}")
    return digest, size


def publish_as(partial: Path, target: Place) -> None:
    """Give a finished private file of the target's folder its name; what had the name is replaced."""
    if isinstance(target, Path):
        move(partial, target)
    else:
        target.backend.upload(partial, target.key)


def write_atomic(place: Place, data: bytes) -> None:
    """Create or replace a file so that a reader sees the old content or the new, never a mixture."""
    backend, key = _at(place)
    backend.replace(key, data)


def create_exclusive(place: Place, data: bytes) -> None:
    """Create a file with `data`, whole and synced. Raises AlreadyExistsError if the name is taken."""
    backend, key = _at(place)
    backend.create(key, data)


def read_bytes(place: Place) -> bytes:
    """Raises FileNotFoundError."""
    backend, key = _at(place)
    return backend.read(key)


def sha256_of(place: Place) -> str:
    """Hex sha256 of a whole file, wherever it is. Raises FileNotFoundError."""
    checksum = hashlib.sha256()
    for chunk in read_chunks(place):
        checksum.update(chunk)
    return checksum.hexdigest()


def read_chunks(place: Place) -> Iterator[bytes]:
    """The bytes of a file in pieces of some MiB. Raises FileNotFoundError."""
    backend, key = _at(place)
    yield from backend.chunks(key)


@contextmanager
def local_file(place: Place) -> Iterator[Path]:
    """The file itself, or a copy here of a remote one, of the same ending, which is gone afterwards; for libraries that read paths.

    Raises FileNotFoundError.
    """
    if isinstance(place, Path):
        yield place
        return
    with room_told(), tempfile.TemporaryDirectory(prefix="permafrost-") as folder:
        path = Path(folder) / place.name
        with open(path, "wb") as file:
            file.writelines(read_chunks(place))
        yield path


def open_listed(folder: Place, entry: FileEntry, opener: Callable[[Path], Opened]) -> Opened:
    """What `opener` makes of the local path of a listed file, which for one of a remote store is in the cache.

    Raises FileNotFoundError, DamagedError.
    """
    return open_at(folder / entry.path, entry, opener)


def open_at(place: Place, entry: FileEntry, opener: Callable[[Path], Opened]) -> Opened:
    """The same, at a place that is known: what `/` makes of it takes three times as long as opening a local file."""
    return opener(place) if isinstance(place, Path) else open_cached(place, entry.sha256, entry.bytes, opener)


def open_proven(folder: Place, entry: FileEntry, opener: Callable[[Path], Opened]) -> Opened:
    """As `open_listed`, after a proof that the file is what its sha256 says: for what is read to be written anew, so that no damage gets
    a new name. A copy in the cache that has changed is fetched again."""
    place = folder / entry.path
    if not isinstance(place, Path):
        drop_changed(entry.sha256)
        return open_listed(folder, entry, opener)
    if sha256_file(place) != entry.sha256:
        raise DamagedError(f"{place} is damaged: its sha256 is not the one that its manifest lists. {MEND_LISTED}")
    return opener(place)


def size_of(place: Place) -> int | None:
    """Size of a file in bytes; None if there is none."""
    backend, key = _at(place)
    return backend.size(key)


def exists(place: Place) -> bool:
    return size_of(place) is not None


def modified(place: Place) -> float:
    """When a file was written, in seconds since 1970, by the clock of the disk or server. Raises FileNotFoundError."""
    backend, key = _at(place)
    return backend.modified(key)


def remove(place: Place) -> None:
    backend, key = _at(place)
    backend.remove(key)


def remove_folder(folder: Place) -> None:
    """With all that is in it. In a bucket there are no folders: what has no files is gone."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)


def read_json(place: Place, what: str) -> dict[str, Any]:
    """Parse the JSON object in a file; `what` names it in errors (NotFoundError, DamagedError)."""
    try:
        return parse_json(read_bytes(place), place, what)
    except FileNotFoundError:
        raise NotFoundError(f"no {what} at {place}") from None


def parse_json(data: bytes, place: object, what: str) -> dict[str, Any]:
    """The JSON object in the bytes of a file. Raises DamagedError."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"the {what} at {place} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise DamagedError(f"the {what} at {place} should hold a JSON object, not a {type(value).__name__}")
    return value


def to_json(value: Any) -> bytes:
    """Stable, readable JSON bytes: sorted keys, two spaces, UTF-8, a final newline."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def list_names(folder: Place) -> list[str]:
    """Names in `folder` without private ones, sorted; empty where there is no such folder."""
    backend, key = _at(folder)
    return sorted(backend.names(key))


def list_folders(folder: Place) -> list[str]:
    """Names of the folders in `folder` without private ones, sorted; empty where there is no such folder."""
    backend, key = _at(folder)
    return sorted(backend.folders(key))


def free_bytes(folder: Place) -> int | None:
    """Bytes that this user can still write where `folder` is, or will be; None where there is no such bound."""
    return shutil.disk_usage(_there(folder)).free if isinstance(folder, Path) else None


def is_writable(folder: Place) -> bool:
    """Whether this user may write where `folder` is, or will be, as far as the system says it without a try."""
    return not isinstance(folder, Path) or os.access(_there(folder), os.W_OK | os.X_OK)


def _there(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def _at(place: Place) -> tuple[Backend, str]:
    return (_DISK, os.fspath(place)) if isinstance(place, Path) else (place.backend, place.key)


def _work_folder(folder: Place) -> Path:
    """Where what goes to `folder` is written first."""
    return folder if isinstance(folder, Path) else Path(tempfile.gettempdir())
