"""Bytes on a disk or network folder: atomic writes, exclusive creation, synced.

Readers never see half a file: everything is written under a private name in the same folder, synced, and only then given its
real name. Private names start with a dot and are never listed.
"""

from __future__ import annotations

import glob
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import AlreadyExistsError, PermafrostError
from storage.patience import FULL, PASSING, patient

FOLDER_TRIES = 50  # of making a folder that somebody removes again and again
CHUNK_BYTES = 8 << 20


class Disk:
    """The backend of paths: keys are paths."""

    url = ""

    def read(self, key: str) -> bytes:
        return Path(key).read_bytes()

    def chunks(self, key: str) -> Iterator[bytes]:
        with open(key, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def size(self, key: str) -> int | None:
        try:
            status = os.stat(key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def modified(self, key: str) -> float:
        return os.stat(key).st_mtime

    def names(self, key: str) -> list[str]:
        try:
            return [name for name in os.listdir(key) if not name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def folders(self, key: str) -> list[str]:
        try:
            with os.scandir(key) as entries:
                return [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def create(self, key: str, data: bytes) -> None:
        """`os.link` is the primitive because it fails on an existing name on local disks and on NFS alike, whereas O_EXCL would publish
        the name before the content."""
        path = Path(key)
        with private_path(path.parent) as partial:
            _write_synced(partial, data)
            try:
                os.link(partial, path)
            except FileExistsError:
                raise AlreadyExistsError(f"{path} exists already") from None
            except OSError as error:
                if error.errno in FULL | PASSING:
                    raise
                raise PermafrostError(
                    f"{path.parent} cannot take hard links ({error.strerror}), which is how versions are committed safely: put the store "
                    "on a disk or network folder that has them"
                ) from None
        _sync_names(path.parent)

    def replace(self, key: str, data: bytes) -> None:
        path = Path(key)
        with private_path(path.parent) as partial:
            _write_synced(partial, data)
            os.replace(partial, path)
        _sync_names(path.parent)

    def upload(self, source: Path, key: str) -> None:
        with private_path(Path(key).parent) as partial:
            shutil.copyfile(source, partial)
            move(partial, Path(key))

    def remove(self, key: str) -> None:
        Path(key).unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """Hex sha256 of a whole file."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@contextmanager
def private_path(folder: Path, owner: str = "") -> Iterator[Path]:
    """Yield a new private path in `folder`; whatever still lies there at the end is removed.

    owner: begins the name, so that `remove_private_paths` can clean up after a process that was killed.
    """
    _make_folder(folder)
    path = folder / f".{owner}{secrets.token_hex(8)}.partial"
    try:
        yield path
    except OSError as error:
        if error.errno and not error.filename:  # writing to an open file names none; errors of ours have no number
            error.filename = os.fspath(folder)
        raise
    finally:
        path.unlink(missing_ok=True)


def remove_private_paths(folder: Path, owner: str) -> None:
    """Remove what processes of `owner` left behind in `folder`; none of them may be at work any more."""
    for path in folder.glob(f".{glob.escape(owner)}*.partial"):
        path.unlink(missing_ok=True)


def move(partial: Path, target: Path) -> None:
    """Give a finished file its name, on the same file system, for good."""
    sync(partial)  # not tried again: after a failed sync Linux drops the unwritten pages, and a second one finds nothing to complain of
    _rename(partial, target)


def sync(path: Path) -> None:
    """fsync a file or folder: a new name survives a power cut only when its folder was synced too."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@patient
def _sync_names(folder: Path) -> None:
    sync(folder)


@patient
def _rename(partial: Path, target: Path) -> None:
    _make_folder(target.parent)
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


def _make_folder(folder: Path) -> None:
    """Also while another process removes it (a cache, say): pathlib then tells of a folder that has just gone as of a file in the way."""
    for left in reversed(range(FOLDER_TRIES)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return
        except (FileExistsError, FileNotFoundError):
            if not left or folder.is_file():
                raise
