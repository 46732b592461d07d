"""Versions that are lost, and of which nobody has a copy: the set goes on without them, and their numbers are never used again."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from storage.absent import FILE, absent_versions, note_absent
from storage.announce import announce
from storage.errors import DamagedError, PermafrostError
from storage.expected_versions import missing_versions
from storage.files import create_exclusive, remove
from storage.manifest import succeed
from storage.names import SetName
from storage.sealed import seal
from storage.versions import list_versions, read_manifest, read_tag, tag_names, tag_place, version_path


def give_up_versions(name: SetName) -> tuple[list[str], int | None]:
    """Note lost versions as absent, and remove tags that mean none; returns the paths of both, and the version made instead of the newest.

    Where the newest is lost, the newest that is left is made once more, with the number that follows. A set that has lost all its versions
    stays as it is: there is nothing to go on from.
    """
    there = list_versions(name.folder)
    if not there:
        return [], None
    given_up: list[str] = []
    try:
        absent_versions(name)
    except DamagedError:  # all gaps are noted below
        remove(name.folder / FILE)
        given_up.append(FILE)
    lost, version = missing_versions(name), None
    if lost and max(lost) > there[-1]:
        version = max(lost) + 1
        try:
            _make_again(name, there[-1], version)
        except DamagedError:
            return given_up, None
    note_absent(name, lost)
    given_up += [f"versions/{version:08d}.json" for version in lost]
    given_up += [f"tags/{tag}.json" for tag in _remove_dangling(name)]
    announce(name)  # a hint may name a tag that is gone
    return given_up, version


def _make_again(name: SetName, base: int, version: int) -> None:
    """Before the lost ones are noted as absent: what follows an absent version must be there."""
    manifest = read_manifest(name.folder, base)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    draft = replace(manifest, nonce=secrets.token_hex(16), created=now, provenance={"operation": "repair"})
    create_exclusive(version_path(name.folder, version), seal(replace(succeed(manifest, draft), version=version).to_dict()))


def _remove_dangling(name: SetName) -> list[str]:
    there, removed = list_versions(name.folder), []
    for tag in tag_names(name):
        with suppress(PermafrostError):
            if read_tag(name, tag).version not in there:
                remove(tag_place(name, tag))
                removed.append(tag)
    return removed
