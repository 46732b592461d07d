"""Making sets and committing versions: the only code that makes a file count."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from storage.absent import absent_versions, is_absent
from storage.announce import announce
from storage.commit_times import after_parent
from storage.errors import AlreadyExistsError, ConflictError, NotFoundError, PermafrostError, SpaceMismatchError
from storage.expected_versions import hinted_newest, named_versions
from storage.feature_set import FeatureSet, SetDescription, open_set, read_description
from storage.files import FileEntry, create_exclusive, exists, remove, size_of
from storage.manifest import Manifest, follow
from storage.more import and_more
from storage.names import SetName
from storage.patience import full_disk_told
from storage.sealed import seal
from storage.store import ensure_store
from storage.takedown_guard import clean_after, require_clean
from storage.versions import list_versions, read_manifest, version_path

logger = logging.getLogger(__name__)

THREADS = 8  # that ask for sizes
MAX_REBASES = 100  # a hundred lost races in a row is no longer contention


def create_set(name: SetName, description: SetDescription) -> SetDescription:
    """Create the set, or return the description of the one that is there. The caller compares spaces."""
    try:
        with full_disk_told(name.folder):
            ensure_store(name.root)
            create_exclusive(name.folder / "set.json", seal(description.to_dict()))
        return description
    except AlreadyExistsError:
        return read_description(name)


def open_newest(name: SetName) -> FeatureSet | None:
    """The newest version, or None for a set that has none yet. Raises ConflictError where it should be there and is not."""
    _latest(name, _newest_named(name))
    return open_set(SetName(name.root, name.team, name.name)) if list_versions(name.folder) else None


def commit(
    name: SetName, base: Manifest | None, draft: Manifest, corpus: str, accept: Callable[[Manifest], None] = lambda latest: None
) -> Manifest:
    """Publish `draft`'s state of `corpus` as the next version; rebase and retry when other writers were faster.

    accept: called with each version that the draft is about to follow, and raises if it must not.

    Raises ConflictError when `corpus` itself was committed by another writer since `base`, or a file to list has gone meanwhile,
    SpaceMismatchError for another space.
    """
    space_id = read_description(name).space.id
    if draft.space_id != space_id:
        raise SpaceMismatchError(f"the set {name.folder} is in space {space_id[:12]}, the features to commit are in {draft.space_id[:12]}")

    def follow_accepted(latest: Manifest | None) -> Manifest:
        if latest:
            accept(latest)
        try:
            return follow(latest, base, draft, corpus)
        except ConflictError:
            require_clean(name, draft, latest)  # a takedown changes what a corpus has, too, and says more of itself
            raise

    return commit_next(name, follow_accepted)


def commit_next(name: SetName, make: Callable[[Manifest | None], Manifest]) -> Manifest:
    """Publish what `make` makes of the newest version; where another writer is faster, of that one's. `latest` itself: nothing to do.

    make: raises ConflictError if its change does not go with what it is given. What it makes must have a nonce that nobody else has.
    Raises ConflictError, too, where a file to list has gone meanwhile, or something in it was taken down.
    """
    taken = _newest_named(name)  # once: it may cost many requests, and each try should be short
    for _ in range(MAX_REBASES):
        latest = _latest(name, taken)
        manifest = make(latest)
        if manifest is latest:
            return manifest
        manifest = after_parent(manifest, latest)
        seen = require_clean(name, manifest, latest)
        _require_files(name, set(manifest.files) - set(latest.files if latest else ()))
        if _publish(name, manifest):
            announce(name)
            return clean_after(name, manifest, seen)
        taken = manifest.version
    raise ConflictError(f"{name}: gave up after {MAX_REBASES} attempts to commit; too many writers at once, run again later")


def _latest(name: SetName, taken: int) -> Manifest | None:
    """The newest version. A listing may be behind (network folders keep one for a minute), and a version may be lost: `taken`, what follows
    an expired version, and what the hint tells of were there, whether it has them or not, and their numbers are not taken again."""
    newest = max([taken, hinted_newest(name), *list_versions(name.folder), *(version + 1 for version in _absent(name))])
    try:
        return read_manifest(name.folder, newest) if newest else None
    except NotFoundError:
        raise ConflictError(
            f"version {newest} of {name} should be there and is not: versions are being copied or expire, run the same command again; "
            "after a copy that was cut off, let it go on first; one that is lost, `permafrost store repair` takes from a copy of the store "
            "(--from ROOT), or lets go (--give-up)"
        ) from None


def _publish(name: SetName, manifest: Manifest) -> bool:
    """Whether the version is committed; False where its number is another writer's.

    An error says little: the request may have been done and only its answer lost (on NFS a link can succeed and answer "exists"), or the
    disk have failed after the version had its name. The nonce tells whose the one there is.
    """
    path = version_path(name.folder, manifest.version)
    try:
        with full_disk_told(name.folder):
            create_exclusive(path, seal(manifest.to_dict()))
    except (OSError, PermafrostError) as error:
        if not exists(path):
            raise
        if read_manifest(name.folder, manifest.version).nonce != manifest.nonce:
            return False
        logger.warning("version %d of %s is committed, though the storage answered: %s", manifest.version, name, error)
    if _is_absent(name, manifest.version):  # others went on and let versions expire meanwhile: the number was free a second time
        remove(path)
        return False
    return True


def _newest_named(name: SetName) -> int:
    """The newest version that a tag means or a head was fitted on: of one that is lost, the hint may be lost, too, or older."""
    with _unreadable_told("which versions tags and heads name"):
        return max(named_versions(name), default=0)
    return 0


def _absent(name: SetName) -> set[int]:
    with _unreadable_told("which versions have expired"):
        return absent_versions(name)
    return set()


def _is_absent(name: SetName, version: int) -> bool:
    with _unreadable_told("which versions have expired"):
        return is_absent(name, version)
    return False


@contextmanager
def _unreadable_told(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, PermafrostError) as error:
        logger.warning("%s cannot be read: %s", what, error)


def _require_files(name: SetName, entries: Collection[FileEntry]) -> None:
    """What a version is about to list is there: an expired version's shards, or a dead run's, may have been collected as garbage since."""
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = pool.map(lambda entry: size_of(name.folder / entry.path), entries)
        gone = [entry.path for entry, size in zip(entries, sizes, strict=True) if size != entry.bytes]
    if gone:
        raise ConflictError(f"{name.folder / gone[0]}{and_more(gone)}: collected as garbage while this command ran; run it again")
