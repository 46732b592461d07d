"""Old versions that nobody holds on to any more leave; their files stay until `storage.gc` finds that no version lists them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from storage.absent import note_absent
from storage.errors import PermafrostError, UsageError
from storage.feature_set import read_description
from storage.files import list_names, read_json, remove
from storage.hints import leave_hints
from storage.manifest import Manifest
from storage.names import SetName, parse_set
from storage.store import require_store
from storage.versions import list_tags, list_versions, read_manifest, version_path


@dataclass(frozen=True)
class Expiry:
    """What leaves, and what stays and why: newest, young, among the last, tag NAME, head TEAM/HEAD."""

    leaving: tuple[int, ...]
    staying: Mapping[int, str]


def expire_versions(name: SetName, keep: int | None, before: datetime | None, remove_them: bool) -> Expiry:
    """Let versions leave that are older than the newest `keep` and than the moment `before`. None: no such condition; one there must be.

    The newest version stays, and what a tag or a head in the store names. Readers of a version that leaves find its files until they
    are collected. Raises UsageError, NotFoundError, DamagedError (of a manifest that cannot be read nobody knows the age).
    """
    if name.at:
        raise UsageError(f"{name}: expected a set; leave out '@{name.at}'")
    if keep is None and before is None:
        raise UsageError("expected how many versions to keep, or the age of those that may leave")
    if keep is not None and keep < 1:
        raise UsageError(f"expected at least 1 version to keep, got {keep}")
    require_store(name.root)
    read_description(name)
    manifests = {version: read_manifest(name.folder, version) for version in list_versions(name.folder)}
    expiry = plan_expiry(manifests, _held(name), keep, before)
    if remove_them and expiry.leaving:
        note_absent(name, expiry.leaving)
        for version in expiry.leaving:
            remove(version_path(name.folder, version))
        leave_hints(name)
    return expiry


def plan_expiry(manifests: Mapping[int, Manifest], held: Mapping[int, str], keep: int | None, before: datetime | None) -> Expiry:
    """held: versions that somebody names, and who. Pure."""
    staying: dict[int, str] = {}
    newest = sorted(manifests, reverse=True)
    for place, version in enumerate(newest):
        if place == 0:
            staying[version] = "newest"
        elif version in held:
            staying[version] = held[version]
        elif keep is not None and place < keep:
            staying[version] = f"among the last {keep}"
        elif before is not None and datetime.fromisoformat(manifests[version].created) >= before:
            staying[version] = "young"
    return Expiry(tuple(sorted(set(manifests) - set(staying))), dict(sorted(staying.items())))


def _held(name: SetName) -> dict[int, str]:
    held = {version: f"head {head}" for head, version in heads_on(name)}
    return held | {tag.version: f"tag {tag.name}" for tag in list_tags(name)}


def heads_on(name: SetName) -> Collection[tuple[str, int]]:
    """Heads in the store that were fitted on a version of the set."""
    found = []
    for team in list_names(name.root / "heads"):
        for head in list_names(name.root / "heads" / team):
            with suppress(PermafrostError, OSError):
                fitted_on = parse_set(str(read_json(name.root / "heads" / team / head / "head.json", "head").get("set")))
                if (fitted_on.team, fitted_on.name) == (name.team, name.name) and fitted_on.at and fitted_on.at.isdigit():
                    found.append((f"{team}/{head}", int(fitted_on.at)))
    return found
