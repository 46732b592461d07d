"""Unnamed files for what memory should not hold. They are gone with the process that made them, whatever ends it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from storage.errors import PermafrostError
from storage.patience import full_disk_told


def temporary_file() -> IO[bytes]:
    """A file in the system's folder for temporary files (TMPDIR). Raises PermafrostError where none can be made."""
    try:
        with room_told():
            return tempfile.TemporaryFile(prefix="permafrost-")
    except OSError as error:
        raise PermafrostError(
            f"no temporary file can be made ({error.strerror or error}): set TMPDIR to a folder that can be written"
        ) from None


def reserve(file: IO[bytes], size: int) -> None:
    """Make a file of this size that has its room on the disk: a page of a map that finds none kills the process. Raises DiskFullError."""
    with room_told():
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:  # macOS
            file.write(bytes(size))
            file.flush()


@contextmanager
def room_told() -> Iterator[None]:
    """Say of a full disk that it is the one with temporary files: DiskFullError."""
    with full_disk_told("the folder for temporary files: set TMPDIR to one with more room, on a disk and not in memory"):
        yield
