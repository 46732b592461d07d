"""Versions that are lost, and of which nobody has a copy: the set goes on without them, and their numbers are never used again.

One whose manifest is there and cannot be read is lost, too: nobody knows what it held.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from storage.absent import LIST, absent_versions, mark_absent
from storage.announce import announce
from storage.commit_times import after_parent
from storage.errors import DamagedError, PermafrostError
from storage.expected_versions import hinted_tags, missing_versions
from storage.files import create_exclusive, remove
from storage.manifest import succeed
from storage.names import SetName
from storage.sealed import is_damaged, seal
from storage.versions import list_versions, read_manifest, read_tag, tag_names, tag_place, version_path


def give_up_versions(name: SetName) -> tuple[list[str], int | None]:
    """Note lost versions as absent, and remove damaged manifests, and tags that mean no version or are damaged; returns the paths of all of
    them and of tags that are lost, and the version made instead of the newest.

    Where the newest is lost, the newest that is left is made once more, with the number that follows. A set that has lost all its versions
    stays as it is: there is nothing to go on from.
    """
    there = list_versions(name.folder)
    damaged = [version for version in there if is_damaged(version_path(name.folder, version))]
    left = sorted({*there} - {*damaged})
    if not left:
        return [], None
    given_up: list[str] = []
    try:
        absent_versions(name)
    except DamagedError:  # all gaps are noted below
        remove(name.folder / LIST)
        given_up.append(LIST)
    lost, version = sorted({*missing_versions(name), *damaged}), None
    if lost and lost[-1] > left[-1]:
        version = lost[-1] + 1
        try:
            _make_again(name, left[-1], version)
        except DamagedError:
            return given_up, None
    mark_absent(name, lost)
    for number in damaged:
        remove(version_path(name.folder, number))
    mark_absent(name, damaged)
    given_up += [f"versions/{number:08d}.json" for number in lost]
    tags = sorted({*_remove_tags(name), *hinted_tags(name)} - {*tag_names(name)})  # those that are lost, too
    given_up += [f"tags/{tag}.json" for tag in tags]
    announce(name, tags)
    return given_up, version


def _make_again(name: SetName, base: int, version: int) -> None:
    """Before the lost ones are noted as absent: what follows an absent version must be there."""
    manifest = read_manifest(name.folder, base)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    draft = replace(manifest, nonce=secrets.token_hex(16), created=now, provenance={"operation": "repair"})
    made = after_parent(replace(succeed(manifest, draft), version=version), manifest)
    create_exclusive(version_path(name.folder, version), seal(made.to_dict()))


def _remove_tags(name: SetName) -> list[str]:
    """Those that mean a version that is not there, and those that can mean none."""
    there, removed = list_versions(name.folder), []
    for tag in tag_names(name):
        place = tag_place(name, tag)
        with suppress(PermafrostError):
            if is_damaged(place) or _means_none(name, tag, there):
                remove(place)
                removed.append(tag)
    return removed


def _means_none(name: SetName, tag: str, versions: Collection[int]) -> bool:
    try:
        return read_tag(name, tag).version not in versions
    except DamagedError:  # its checksum is sound, and what it names is no version
        return True
