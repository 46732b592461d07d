"""Commits and takedowns at the same time: a writer that began before a takedown must not bring back what it removed."""

from __future__ import annotations

import logging
from contextlib import suppress

from storage.errors import ConflictError, DamagedError, PermafrostError
from storage.files import size_of
from storage.manifest import Manifest
from storage.names import SetName
from storage.takedown_scan import SetScan
from storage.takedown_set import clean_set
from storage.tombstones import Tombstones, read_tombstones, takedown_names
from storage.versions import read_manifest

logger = logging.getLogger(__name__)


def require_clean(name: SetName, draft: Manifest, latest: Manifest | None) -> frozenset[str]:
    """Called before a manifest is created, with the version that it follows; returns the names of the tombstones seen.

    What is new in the draft is looked at. If it has anything that was taken down, or lists what a takedown removed, the set is cleaned, the
    draft's own files with it, and the error is ConflictError.
    """
    stones = read_tombstones(name)
    if not stones:
        return stones.names
    if _lists_removed(name, draft, stones) or SetScan(name).holds(stones, draft, latest):
        raise _cleaned(name)
    if latest and _lists_removed(name, latest, stones):
        with suppress(DamagedError):  # what took its place is lost, too: a draft without either is how a repair gives them up
            raise _cleaned(name)
    return stones.names


def _lists_removed(name: SetName, manifest: Manifest, stones: Tombstones) -> bool:
    return any(entry.path in stones.gone and size_of(name.folder / entry.path) is None for entry in manifest.files)


def _cleaned(name: SetName) -> ConflictError:
    """Cleans the set; returns what the writer is told."""
    clean_set(SetScan(name))
    return ConflictError(
        f"images of {name} were taken down while this command ran: run it again; what it has finished is reused, without them"
    )


def clean_after(name: SetName, manifest: Manifest, seen: frozenset[str]) -> Manifest:
    """Called after a manifest was created; returns it as it is then.

    A takedown whose tombstone was there before sees this version itself, or its files were missed in `require_clean`. One that came in
    between may have looked at the versions before this one was there. It looks again until no commit came in between; so an error here
    is no reason to say that the version, which is there, is not.
    """
    try:
        if takedown_names(name.root) != seen and read_tombstones(name):
            clean_set(SetScan(name))
            return read_manifest(name.folder, manifest.version)
    except (OSError, PermafrostError) as error:
        logger.warning("version %d of %s is committed; what was taken down meanwhile could not be seen: %s", manifest.version, name, error)
    return manifest
