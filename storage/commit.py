"""Making sets and committing versions: the only code that makes a file count."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

from storage.errors import AlreadyExistsError, ConflictError, SpaceMismatchError
from storage.feature_set import FeatureSet, SetDescription, open_set, read_description
from storage.files import FileEntry, create_exclusive, size_of
from storage.hints import leave_hints
from storage.manifest import Manifest, follow
from storage.names import SetName
from storage.patience import full_disk_told
from storage.sealed import seal
from storage.store import ensure_store
from storage.takedown_guard import clean_after, require_clean
from storage.versions import list_versions, read_manifest, version_path

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
    """The newest version, or None for a set that has none yet."""
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
    for _ in range(MAX_REBASES):
        versions = list_versions(name.folder)
        latest = read_manifest(name.folder, versions[-1]) if versions else None
        if latest:
            accept(latest)
        seen = require_clean(name, draft, latest)
        manifest = follow(latest, base, draft, corpus)
        _require_files(name, set(manifest.files) - set(latest.files if latest else ()))
        try:
            with full_disk_told(name.folder):
                create_exclusive(version_path(name.folder, manifest.version), seal(manifest.to_dict()))
            leave_hints(name)
            return clean_after(name, manifest, seen)
        except AlreadyExistsError:
            # On NFS a link can succeed and still answer "exists": the nonce tells whether the manifest there is ours.
            there = read_manifest(name.folder, manifest.version)
            if there.nonce == draft.nonce:
                return there
    raise ConflictError(f"{name}: gave up after {MAX_REBASES} attempts to commit; too many writers at once, run again later")


def _require_files(name: SetName, entries: Collection[FileEntry]) -> None:
    """What a version is about to list is there: an expired version's shards, or a dead run's, may have been collected as garbage since."""
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = pool.map(lambda entry: size_of(name.folder / entry.path), entries)
        gone = [entry.path for entry, size in zip(entries, sizes, strict=True) if size != entry.bytes]
    if gone:
        raise ConflictError(
            f"{name.folder / gone[0]} is no longer there, and {len(gone) - 1} more: they were collected as garbage while this command ran; "
            "run it again"
        )
