"""Readers of a version that a takedown rewrites: what they have open stays readable, and what is gone is told for what it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from storage.errors import ConflictError, DamagedError, PermafrostError
from storage.manifest import Manifest
from storage.names import SetName
from storage.versions import read_manifest


@contextmanager
def rewriting_told(name: SetName, manifest: Manifest) -> Iterator[None]:
    """Raise ConflictError, not DamagedError, for a file that is gone because the version was rewritten since it was opened."""
    try:
        yield
    except (DamagedError, FileNotFoundError):
        if _is_rewritten(name, manifest):
            raise ConflictError(
                f"version {manifest.version} of {name.folder} was rewritten since it was opened, because something in it was taken down: "
                "open it again, or run the same command again"
            ) from None
        raise


def _is_rewritten(name: SetName, manifest: Manifest) -> bool:
    try:
        return read_manifest(name.folder, manifest.version) != manifest
    except (PermafrostError, OSError):
        return False
