"""The one door to the disk: atomic writes, exclusive creation, listing, checksums.

Readers never see half a file: everything is written under a private name in the same folder, synced, and only then given its
real name. Private names start with a dot and are never listed.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import AlreadyExistsError, DamagedError, NotFoundError, PermafrostError
from storage.patience import FULL, patient


@dataclass(frozen=True)
class FileEntry:
    """A file as a manifest lists it: path relative to the set, sha256 in hex, size in bytes, rows."""

    path: str
    sha256: str
    bytes: int
    rows: int


def sha256_file(path: Path) -> str:
    """Hex sha256 of a whole file."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@contextmanager
def private_file(folder: Path, owner: str = "") -> Iterator[Path]:
    """Yield a new private path in `folder`; whatever still lies there at the end is removed.

    owner: begins the name, so that `remove_private_files` can clean up after a process that was killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{owner}{secrets.token_hex(8)}.partial"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def give_up_room(partial: Path) -> None:
    """Free the blocks of a private file that nobody will finish, though a writer, kept by an error's traceback, may hold it open."""
    with suppress(FileNotFoundError):  # it was published already
        os.truncate(partial, 0)


def remove_private_files(folder: Path, owner: str) -> None:
    """Remove what processes of `owner` left behind in `folder`; none of them may be at work any more."""
    for path in folder.glob(f".{glob.escape(owner)}*.partial"):
        path.unlink(missing_ok=True)


def publish_by_content(partial: Path, folder: Path, suffix: str) -> tuple[str, int]:
    """Give a finished private file its content name `<sha256><suffix>` in `folder`; return (sha256, bytes)."""
    sync(
        partial
    )  # not tried again: after a sync that failed, Linux drops the unwritten pages, and a second one finds nothing to complain of
    digest, size = sha256_file(partial), partial.stat().st_size
    _rename(partial, folder / f"{digest}{suffix}")
    return digest, size


def publish_as(partial: Path, target: Path) -> None:
    """Give a finished private file of the same folder the name `target`; what had the name is replaced."""
    sync(partial)
    _rename(partial, target)


def write_atomic(path: Path, data: bytes) -> None:
    """Create or replace `path` so that a reader sees the old content or the new, never a mixture."""
    with private_file(path.parent) as partial:
        _write_synced(partial, data)
        os.replace(partial, path)
    sync(path.parent)


def create_exclusive(path: Path, data: bytes) -> None:
    """Create `path` with `data`, whole and synced.

    Raises AlreadyExistsError if the name is taken. `os.link` is the primitive because it fails on an existing name on local disks
    and on NFS alike, whereas O_EXCL would publish the name before the content.
    """
    with private_file(path.parent) as partial:
        _write_synced(partial, data)
        try:
            os.link(partial, path)
        except FileExistsError:
            raise AlreadyExistsError(f"{path} exists already") from None
        except OSError as error:
            if error.errno in FULL:
                raise
            raise PermafrostError(
                f"{path.parent} cannot take hard links ({error.strerror}), which is how versions are committed safely: put the store on "
                "a disk or network folder that has them"
            ) from None
    sync(path.parent)


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Parse the JSON object in `path`; `what` names it in errors (NotFoundError, DamagedError)."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotFoundError(f"no {what} at {path}") from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"the {what} at {path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise DamagedError(f"the {what} at {path} should hold a JSON object, not a {type(value).__name__}")
    return value


def to_json(value: Any) -> bytes:
    """Stable, readable JSON bytes: sorted keys, two spaces, UTF-8, a final newline."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def list_names(folder: Path) -> list[str]:
    """Names in `folder` without private ones, sorted; empty where there is no such folder."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def free_bytes(folder: Path) -> int:
    """Bytes that this user can still write where `folder` is, or will be."""
    return shutil.disk_usage(_there(folder)).free


def is_writable(folder: Path) -> bool:
    """Whether this user may write where `folder` is, or will be, as far as the system says it without a try."""
    return os.access(_there(folder), os.W_OK | os.X_OK)


def _there(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def sync(path: Path) -> None:
    """fsync a file or folder: a new name survives a power cut only when its folder was synced too."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@patient
def _rename(partial: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(partial, target)
    except FileNotFoundError:  # on NFS a rename can succeed and its answer be lost
        if not target.exists():
            raise
    sync(target.parent)


def _write_synced(path: Path, data: bytes) -> None:
    with open(path, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
