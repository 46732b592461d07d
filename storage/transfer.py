"""Copies of sets between stores: every byte checked on its way, nothing sent that is there, whole versions only.

Listed files go first and manifests last, so a copy that was cut off is a set without its last versions; the same command goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from storage.absent import absent_among, mark_not_copied, unmark_present
from storage.announce import announce
from storage.asked_version import no_version, read_asked
from storage.card import read_card, write_card
from storage.carried_tombstones import carry_tombstones
from storage.errors import AlreadyExistsError, ConflictError, DamagedError, NotFoundError, PermafrostError, UsageError
from storage.expected_versions import Hint, hinted_tags, missing_versions, require_some_version
from storage.feature_set import read_description
from storage.files import create_exclusive, exists, private_file, publish_as, read_bytes, read_chunks, size_of
from storage.manifest import Manifest
from storage.names import SetName
from storage.patience import full_disk_told
from storage.place import Place, same_place
from storage.restored import require_none_restored
from storage.store import ensure_store, require_store
from storage.tags import move_tag
from storage.takedown_scan import SetScan
from storage.takedown_set import clean_set
from storage.tombstones import read_tombstones, takedown_names
from storage.verify import Expected, listed_files
from storage.versions import Tag, list_versions, look_through_tags, read_manifest, version_path

THREADS = 8


@dataclass(frozen=True)
class Transfer:
    versions: tuple[int, ...]  # that the target has of what was asked for
    new_versions: tuple[int, ...]
    tags: tuple[str, ...]
    copied: int  # files
    skipped: int  # files that were there
    bytes: int  # copied
    lost: tuple[str, ...] = ()  # paths of what should be in the source and is not; the copy is told of it, and misses it as well


@dataclass(frozen=True)
class _Wanted:
    """lost: versions, and lost_tags: tags, that should be there, or cannot be read."""

    manifests: Mapping[int, Manifest]
    tags: Sequence[Tag]
    lost: frozenset[int] = frozenset()
    lost_tags: tuple[str, ...] = ()


def copy_set(source: SetName, target: SetName, on_file: Callable[[int, int], None] = lambda done, total: None) -> Transfer:
    """Copy a version, or all versions and tags, with their numbers. source.at: a version, day or tag, which is copied too.

    The logs of runs stay. Raises NotFoundError, UsageError, DamagedError (a file is not what its manifest says: it is not copied),
    ConflictError (the target is another set, or has gone on by itself), DiskFullError.
    """
    with full_disk_told(target.folder):
        return _copy_set(source, target, on_file)


def _copy_set(source: SetName, target: SetName, on_file: Callable[[int, int], None]) -> Transfer:
    _require_places(source, target)
    wanted = _wanted(source)
    manifests = wanted.manifests
    for manifest in manifests.values():
        require_none_restored(source, manifest)
    ensure_store(target.root)
    _require_same_history(source, target, wanted)
    seen = _require_not_taken_down(source, target, manifests)
    carry_tombstones(source, target)
    listed = list(listed_files(manifests).values())
    copied = size = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for done, is_new in enumerate(pool.map(partial(_copy_file, source, target), listed), start=1):
            copied += is_new
            size += (listed[done - 1].bytes or 0) * is_new
            on_file(done, len(listed))
    new = _publish(source, target, wanted)
    if takedown_names(target.root) - seen:
        clean_set(SetScan(target))
    for tag in wanted.tags:
        move_tag(SetName(target.root, target.team, target.name, str(tag.version)), tag.name)
    lost = (*(f"versions/{version:08d}.json" for version in sorted(wanted.lost)), *(f"tags/{tag}.json" for tag in wanted.lost_tags))
    return Transfer(tuple(manifests), new, tuple(tag.name for tag in wanted.tags), copied, len(listed) - copied, size, lost)


def _require_places(source: SetName, target: SetName) -> None:
    require_store(source.root)
    read_description(source)
    if target.at:
        raise UsageError(f"{target}: versions keep their numbers; leave out '@{target.at}'")
    if same_place(source.folder, target.folder):
        raise UsageError(f"{target} is the set itself")


def _wanted(source: SetName) -> _Wanted:
    """Manifests by version, ascending, tags, and what is lost of either where all are wanted."""
    versions = list_versions(source.folder)
    tags, damaged = look_through_tags(source)
    if source.at:
        chosen = read_asked(source, versions)
        return _Wanted({chosen.version: chosen}, [tag for tag in tags if tag.name == source.at])
    manifests, lost = {}, set(missing_versions(source))
    for version in versions:
        try:
            manifests[version] = read_manifest(source.folder, version)
        except NotFoundError:  # behind a web server versions are not listed but told
            lost.add(version)
    lost -= absent_among(source, lost)  # a hint may be behind
    if not manifests:
        require_some_version(source)
        raise no_version(source)
    here = [tag for tag in tags if tag.version in manifests]
    lost_tags = sorted({*(tag.name for tag in tags), *damaged, *hinted_tags(source)} - {tag.name for tag in here})
    return _Wanted(manifests, here, frozenset(lost), tuple(lost_tags))


def _require_same_history(source: SetName, target: SetName, wanted: _Wanted) -> None:
    """What the target has already must be a copy of the source; of versions that are lost there it may have copies yet."""
    if not exists(target.folder / "set.json"):
        return
    if read_bytes(target.folder / "set.json") != read_bytes(source.folder / "set.json"):
        raise ConflictError(f"{target.folder} is another set than {source.folder}, and not a copy of it: choose another name")
    there, versions = set(list_versions(target.folder)) - wanted.lost, {*list_versions(source.folder), *wanted.manifests}
    for version in sorted(there & versions):
        if _differ(version_path(source.folder, version), version_path(target.folder, version)):
            raise ConflictError(
                f"{target.folder} has gone on by itself: its version {version} is another one than that of {source.folder}. If something "
                "was taken down in one of the two since it was copied, take it down in the other, too: then they are alike again"
            )
    if ahead := sorted(version for version in there if version > max(versions)):
        raise ConflictError(f"{target.folder} has gone on by itself: it has version {ahead[0]}, which {source.folder} has not")


def _differ(one: Place, other: Place) -> bool:
    with suppress(FileNotFoundError):  # it has expired in this very moment
        return read_bytes(one) != read_bytes(other)
    return False


def _require_not_taken_down(source: SetName, target: SetName, manifests: Mapping[int, Manifest]) -> frozenset[str]:
    """Returns the names of the tombstones seen in the target."""
    stones, scan = read_tombstones(target), SetScan(source)
    for version, manifest in manifests.items() if stones else ():
        if scan.holds(stones, manifest, None):
            raise ConflictError(
                f"version {version} of {source.folder} holds what was taken down in {target.root}: take it down in {source.root} as well "
                "(`permafrost store takedown`), and copy then"
            )
    return stones.names


def _copy_file(source: SetName, target: SetName, file: Expected) -> bool:
    """Whether it had to be copied."""
    place = target.folder / file.path
    if size_of(place) == file.bytes:
        return False
    checksum = hashlib.sha256()
    with private_file(place.parent) as partial:
        try:
            with open(partial, "wb") as written:
                for chunk in read_chunks(source.folder / file.path):
                    checksum.update(chunk)
                    written.write(chunk)
        except FileNotFoundError:
            raise DamagedError(f"{source.folder / file.path} is listed but is not there: see `permafrost store verify`") from None
        if checksum.hexdigest() != file.sha256:
            raise DamagedError(f"{source.folder / file.path} is damaged, and was not copied: see `permafrost store verify`")
        publish_as(partial, place)
    return True


def _publish(source: SetName, target: SetName, wanted: _Wanted) -> tuple[int, ...]:
    """Create what makes the files count; returns the new versions."""
    new = []
    mark_not_copied(target, wanted.manifests, wanted.lost)
    for path, version in [("set.json", None), *((f"versions/{version:08d}.json", version) for version in wanted.manifests)]:
        if exists(target.folder / path):  # compared before anything was copied
            continue
        try:
            create_exclusive(target.folder / path, read_bytes(source.folder / path))
        except AlreadyExistsError:
            raise ConflictError(f"{target.folder / path} was made by somebody else meanwhile; run the same command again") from None
        new += [version] if version else []
    unmark_present(target)
    _copy_card(source, target)
    announce(target, told=Hint(max(wanted.lost, default=0), tags=wanted.lost_tags))
    return tuple(new)


def _copy_card(source: SetName, target: SetName) -> None:
    """The newer of the two counts. One that cannot be read is not copied: `storage.verify` tells."""
    with suppress(PermafrostError):
        card = read_card(source)
        if card.changed > read_card(target).changed:
            write_card(target, card)
