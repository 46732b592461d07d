"""Making one set clean of what was taken down in its store: in every version, until no late writer has brought anything back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from storage.announce import announce
from storage.errors import ConflictError, DamagedError
from storage.files import exists, remove, write_atomic
from storage.manifest import Manifest
from storage.names import SetName
from storage.place import RemotePlace
from storage.sealed import seal
from storage.shard_cache import forget
from storage.statistics import remove_stale_statistics
from storage.takedown_found import Found
from storage.takedown_rewrite import Rewritten, rewritten_manifest, write_without
from storage.takedown_runs import clean_runs
from storage.takedown_scan import SetScan
from storage.tombstones import Gone, KnownFile, Record, Tombstones, leave_record, read_tombstones, set_label, takedown_names
from storage.verify import listed_files
from storage.versions import list_versions, read_manifest, version_path

MAX_PASSES = 20  # each after a commit that came in between


@dataclass(frozen=True)
class VersionLoss:
    """What a version lost, or would lose."""

    version: int
    items: int
    rejects: int


@dataclass(frozen=True)
class SetTakedown:
    """What was done in a set, or would be. Paths are relative to it."""

    set: str
    versions: tuple[VersionLoss, ...] = ()  # that were rewritten
    files: tuple[Gone, ...] = ()  # that left, and what took their place
    logs: tuple[str, ...] = ()  # of runs, that were rewritten
    unreadable: tuple[str, ...] = ()  # files of runs


@dataclass
class _Account:
    """What was done so far. subjects: images and keys that the last pass was about."""

    losses: list[VersionLoss] = field(default_factory=list)
    files: list[Gone] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    subjects: object = None


def clean_set(scan: SetScan) -> SetTakedown:
    """Rewrite what has to go by the tombstones of its store. Cut off anywhere, doing it again completes it.

    Raises DamagedError, ConflictError.
    """
    name, account = scan.name, _Account()
    for _ in range(MAX_PASSES):
        if _undisturbed(name, partial(_pass, scan, account)):
            announce(name)
            files = {gone.path: gone for gone in account.files}
            return SetTakedown(
                set_label(name),
                _joined(account.losses),
                tuple(files[path] for path in sorted(files)),
                tuple(sorted(set(account.logs))),
                tuple(sorted(account.unreadable)),
            )
    raise ConflictError(f"{name}: gave up after {MAX_PASSES} passes; too many writers at once, do it again later")


def _pass(scan: SetScan, account: _Account) -> bool:
    """Whether there was nothing to do, so that no commit and no other takedown has come in between."""
    name, stones = scan.name, read_tombstones(scan.name)
    found = scan.look(stones, again=account.subjects == (stones.images, stones.keys))
    rewritten = write_without(scan, found, stones)
    gone = rewritten.gone(found, set_label(name))
    _leave_record(name, found.known - stones.known, gone)
    account.files += gone
    stones = read_tombstones(name).knowing(found.known)
    losses = _replace_manifests(scan, found, rewritten, stones)
    account.losses += losses
    logs, unreadable = clean_runs(name, found.receipts, stones, rewritten.moves, write=True)
    account.logs += logs
    account.unreadable |= {*unreadable, *found.unreadable}
    _remove(name, stones)
    account.subjects = (stones.images, stones.keys)
    return not found.anything and not losses


def _undisturbed(name: SetName, act: Callable[[], bool], again: bool = True) -> bool:
    """Act, and say whether all is done. A file that is gone because another takedown was at work is no damage: then it is not.

    Its last step, which removes files, changes nothing else: of such a file a second look decides.
    """
    before = _state(name)
    try:
        return act()
    except (DamagedError, FileNotFoundError):
        if _state(name) != before:
            return False
        if not again:
            raise
    return _undisturbed(name, act, again=False)


def _state(name: SetName) -> tuple[object, ...]:
    return takedown_names(name.root), {version: read_manifest(name.folder, version) for version in list_versions(name.folder)}


def foresee(scan: SetScan, stones: Tombstones) -> SetTakedown:
    """What `clean_set` would do."""
    found = scan.look(stones)
    stones = stones.knowing(found.known)
    entries = [
        *found.items,
        *found.golden,
        *found.unlisted,
        *(e for e, _ in found.rejects.values()),
        *(e for e, _ in found.shards.values()),
    ]
    paths = {entry.path for entry in entries}
    losses = []
    for version, manifest in found.manifests.items():
        items = sum(
            found.facts[entry.path].taken for state in manifest.corpora.values() for entry in state.items if entry.path in found.facts
        )
        rejects = sum(found.rejects[s.rejects.path][1] for s in manifest.corpora.values() if s.rejects and s.rejects.path in found.rejects)
        if any(entry.path in paths for entry in manifest.files):
            losses.append(VersionLoss(version, items, rejects))
    logs, unreadable = clean_runs(scan.name, found.receipts, stones, {}, write=False)
    files = tuple(Gone(set_label(scan.name), entry.path, entry.sha256) for entry in sorted(entries, key=lambda entry: entry.path))
    return SetTakedown(set_label(scan.name), tuple(losses), files, tuple(logs), (*unreadable, *found.unreadable))


def _leave_record(name: SetName, known: frozenset[KnownFile], gone: tuple[Gone, ...]) -> None:
    """Before anything is removed: from here on readers' caches and whoever finishes this know it."""
    if known or gone:
        ordered = sorted(known, key=lambda file: (file.image, file.corpus, file.key, file.stamp or ""))
        leave_record(name.root, Record(tuple(ordered), gone))


def _replace_manifests(scan: SetScan, found: Found, rewritten: Rewritten, stones: Tombstones) -> list[VersionLoss]:
    losses = []
    for version, manifest in found.manifests.items():
        now = rewritten_manifest(manifest, scan, rewritten, stones)
        if now != manifest:
            write_atomic(version_path(scan.name.folder, version), seal(now.to_dict()))
            losses.append(VersionLoss(version, *(manifest.counts[each] - now.counts[each] for each in ("rows", "rejected"))))
    return losses


def _remove(name: SetName, stones: Tombstones) -> None:
    """What left, and is listed no more. A manifest that came meanwhile may list it still: the next pass sees that."""
    manifests: dict[int, Manifest] = {version: read_manifest(name.folder, version) for version in list_versions(name.folder)}
    listed = listed_files(manifests)
    for gone in stones.gone.values():
        if gone.path not in listed:
            if exists(name.folder / gone.path):
                remove(name.folder / gone.path)
            if isinstance(name.root, RemotePlace):
                forget(gone.sha256)
    remove_stale_statistics(name)  # sums of rewritten versions hold what was taken down


def _joined(losses: Iterable[VersionLoss]) -> tuple[VersionLoss, ...]:
    by_version: dict[int, VersionLoss] = {}
    for loss in losses:
        old = by_version.get(loss.version, VersionLoss(loss.version, 0, 0))
        by_version[loss.version] = replace(old, items=old.items + loss.items, rejects=old.rejects + loss.rejects)
    return tuple(by_version[version] for version in sorted(by_version))
