"""Old versions that nobody holds on to any more leave; their files stay until `storage.gc` finds that no version lists them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from storage.absent import mark_absent, unmark_present
from storage.announce import announce
from storage.commit_times import commit_times
from storage.errors import AlreadyExistsError, DamagedError, NotFoundError, UsageError
from storage.expected_versions import hinted_tags
from storage.feature_set import read_description
from storage.files import create_exclusive, read_bytes, remove
from storage.heads import heads_on, require_sound_heads
from storage.manifest import Manifest
from storage.names import SetName
from storage.store import require_store, require_writable
from storage.versions import list_tags, list_versions, look_through_tags, read_manifest, tag_names, version_path


@dataclass(frozen=True)
class Expiry:
    """What leaves, and what stays and why: newest, young, among the last, tag NAME, head TEAM/HEAD."""

    leaving: tuple[int, ...]
    staying: Mapping[int, str]


def expire_versions(name: SetName, keep: int | None, before: datetime | None, remove_them: bool) -> Expiry:
    """Let versions leave that are older than the newest `keep` and than the moment `before`. None: no such condition; one there must be.

    The newest version stays, and what a tag or a head in the store names, were it named only meanwhile. Readers of a version that leaves
    find its files until they are collected. Raises UsageError, NotFoundError, DamagedError (of a manifest that cannot be read nobody
    knows the age, and of a tag that is lost, or a head that cannot be read, which version it names).
    """
    if name.at:
        raise UsageError(f"{name}: expected a set; leave out '@{name.at}'")
    if keep is None and before is None:
        raise UsageError("expected how many versions to keep, the age of those that may leave, or both: --keep 5, --older-than 30d")
    if keep is not None and keep < 1:
        raise UsageError(f"expected at least 1 version to keep, got {keep}")
    require_writable(name.root)
    require_store(name.root)
    read_description(name)
    _require_all_names(name)
    manifests = dict[int, Manifest]()
    for version in list_versions(name.folder):
        with suppress(NotFoundError):  # somebody else lets it expire
            manifests[version] = read_manifest(name.folder, version)
    expiry = plan_expiry(manifests, _held(name), keep, before)
    if remove_them and expiry.leaving:
        mark_absent(name, expiry.leaving)
        kept = _remove(name, expiry.leaving)
        unmark_present(name)
        announce(name)
        expiry = Expiry(
            tuple(version for version in expiry.leaving if version not in kept), dict(sorted({**expiry.staying, **kept}.items()))
        )
    return expiry


def _require_all_names(name: SetName) -> None:
    if lost := sorted({*hinted_tags(name)} - {*tag_names(name)}):
        raise DamagedError(
            f"the tag {lost[0]!r} of {name.folder} is lost (hint.json tells of it), and nobody knows which version it means: "
            f"`permafrost store repair {name} --from ROOT` takes it from a copy of the store, "
            f"`permafrost store tag {name} {lost[0]} --delete` lets it go"
        )
    for tag, why in look_through_tags(name)[1].items():
        raise DamagedError(f"nobody knows which version the tag {tag!r} of {name.folder} means, so nothing expires: {why}")
    require_sound_heads(name)


def _remove(name: SetName, leaving: Collection[int]) -> dict[int, str]:
    """Remove the manifests, and put back what somebody has named meanwhile; who moves a tag looks afterwards for its version."""
    removed: dict[int, bytes] = {}
    for version in leaving:
        with suppress(FileNotFoundError):  # of two who let it leave, one is faster
            removed[version] = read_bytes(version_path(name.folder, version))
            remove(version_path(name.folder, version))
        mark_absent(name, [version])
    kept = {version: who for version, who in _held(name).items() if version in removed}
    for version in kept:
        with suppress(AlreadyExistsError):
            create_exclusive(version_path(name.folder, version), removed[version])
    return kept


def plan_expiry(manifests: Mapping[int, Manifest], held: Mapping[int, str], keep: int | None, before: datetime | None) -> Expiry:
    """held: versions that somebody names, and who. Pure."""
    staying, times = dict[int, str](), commit_times({version: manifest.created for version, manifest in manifests.items()})
    newest = sorted(manifests, reverse=True)
    for place, version in enumerate(newest):
        if place == 0:
            staying[version] = "newest"
        elif version in held:
            staying[version] = held[version]
        elif keep is not None and place < keep:
            staying[version] = f"among the last {keep}"
        elif before is not None and times[version] >= before:
            staying[version] = "young"
    return Expiry(tuple(sorted(set(manifests) - set(staying))), dict(sorted(staying.items())))


def _held(name: SetName) -> dict[int, str]:
    held = {head.version: f"head {head.name}" for head in heads_on(name) if head.version is not None}
    return held | {tag.version: f"tag {tag.name}" for tag in list_tags(name)}
