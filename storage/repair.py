"""Mending a set: damaged and missing files come from another copy of the store, or their items are given back to extraction.

What has no sound copy is given up only when asked: damaged shards are removed, so that the next extraction embeds their images again,
and a newest version with damaged item files or rejects is followed by one without them, whose items are pending. Older versions that list
such a file stay damaged. Versions that are lost are noted as absent, and tags that mean them are removed (`storage.lost_versions`).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from storage.card_page import FILE as PAGE
from storage.card_page import leave_page
from storage.commit import commit
from storage.errors import DamagedError, PermafrostError
from storage.files import private_file, publish_as, read_bytes, read_chunks, remove, sha256_of, write_atomic
from storage.items import ITEM_SCHEMA, read_tables
from storage.lost_versions import give_up_versions
from storage.manifest import CorpusState, Manifest
from storage.names import SetName
from storage.place import Place
from storage.sealed import unseal
from storage.takedown_scan import SetScan
from storage.takedown_set import clean_set
from storage.tombstones import read_tombstones
from storage.verify import Finding, Verification, verify_set
from storage.versions import list_versions, read_manifest

MAX_ROUNDS = 3  # a manifest that comes back may list further files that are gone


@dataclass(frozen=True)
class Repair:
    """mended: (path, where the copy came from). given_up: paths of damaged shards and pages that were removed, of lost versions, and of
    tags that meant them. version: the new one, without what was damaged or lost. left: what is still wrong."""

    mended: tuple[tuple[str, str], ...]
    given_up: tuple[str, ...]
    version: int | None
    left: Verification


def repair_set(name: SetName, copies: Sequence[Place] = (), give_up: bool = False) -> Repair:
    """Verify in full, and mend what is damaged or missing.

    copies: roots of stores that may have sound copies of the same set. give_up: give what none of them has back to extraction.
    Raises NotFoundError for a set that is not there.
    """
    mended: list[tuple[str, str]] = []
    verification = verify_set(name, full=True)
    taken_down = {gone.sha256 for gone in read_tombstones(name).gone.values()}
    for _ in range(MAX_ROUNDS):
        wanted = [f for f in _damage(verification) if f.sha256 not in taken_down and f.kind != "dangling"]
        found = [(path, where) for path, where in ((f.path, _mend(name, f, copies)) for f in wanted) if where]
        mended += found
        if not found:
            break
        verification = verify_set(name, full=True)
    if mended and _clean(name):
        verification = verify_set(name, full=True)
    given_up: list[str] = []
    version: int | None = None
    if give_up:
        given_up, version = give_up_versions(name)
        given_up += _remove_shards(name, verification)
        given_up += _remove_pages(name, verification)
        version = _without_damaged(name, {finding.path for finding in _damage(verification)}) or version
        verification = verify_set(name, full=True)
    return Repair(tuple(mended), tuple(given_up), version, verification)


def _clean(name: SetName) -> bool:
    """A manifest from a copy may list what was taken down here: whether there was anything to look for."""
    stones = read_tombstones(name)
    if stones:
        with suppress(DamagedError):  # of a set that could not be mended nobody knows what is in it
            clean_set(SetScan(name))
    return bool(stones)


def _damage(verification: Verification) -> list[Finding]:
    return [finding for finding in verification.findings if finding.is_damage]


def _mend(name: SetName, finding: Finding, copies: Sequence[Place]) -> str | None:
    """Take a sound copy of a file; returns where it was. The page is made of the rest."""
    if finding.path == PAGE:
        leave_page(name)
        return "the set itself"
    sha256 = finding.sha256
    for root in copies:
        copy = SetName(root, name.team, name.name)
        with suppress(PermafrostError, OSError):
            place = copy.folder / finding.path
            if sha256 and sha256_of(place) == sha256:
                _publish(place, name.folder / finding.path)
                return str(place)
            if not sha256 and _is_copy_of(copy, name, finding.path):
                data = read_bytes(place)
                unseal(data, place, "file")
                write_atomic(name.folder / finding.path, data)
                return str(place)
    return None


def _publish(source: Place, target: Place) -> None:
    with private_file(target.parent) as partial:
        with open(partial, "wb") as file:
            file.writelines(read_chunks(source))
        publish_as(partial, target)


def _is_copy_of(copy: SetName, name: SetName, path: str) -> bool:
    """Whether what is called alike is the same set: version 3 of another one is another version."""
    return path == "set.json" or read_bytes(copy.folder / "set.json") == read_bytes(name.folder / "set.json")


def _remove_shards(name: SetName, verification: Verification) -> list[str]:
    """Remove damaged shards: one that is missing is made again, one that is there is trusted by its size."""
    paths = [f.path for f in _damage(verification) if f.path.startswith("shards/") and f.kind != "missing"]
    for path in paths:
        remove(name.folder / path)
    return paths


def _remove_pages(name: SetName, verification: Verification) -> list[str]:
    """Remove the page of a run whose report is lost: it is one that did not finish then."""
    reports = [
        f.path for f in _damage(verification) if f.kind == "missing" and f.path.startswith("runs/") and f.path.endswith("/report.json")
    ]
    pages = [path.removesuffix("json") + "html" for path in reports]
    for page in pages:
        remove(name.folder / page)
    return pages


def _without_damaged(name: SetName, damaged: set[str]) -> int | None:
    """Follow the newest version by one without its damaged item files and rejects; returns its number, None where there is no need."""
    versions = list_versions(name.folder)
    try:
        base = read_manifest(name.folder, versions[-1]) if versions else None
    except PermafrostError:
        return None
    version = None
    for corpus, state in base.corpora.items() if base else ():
        left = _state_without(state, damaged, name.folder)
        if base and left != state:
            base = commit(name, base, _draft(base, corpus, left), corpus)
            version = base.version
    return version


def _state_without(state: CorpusState, damaged: set[str], folder: Place) -> CorpusState:
    if damaged.isdisjoint(entry.path for entry in (*state.items, *([state.rejects] if state.rejects else []))):
        return state
    items = tuple(entry for entry in state.items if entry.path not in damaged)
    rejects = state.rejects if state.rejects and state.rejects.path not in damaged else None
    rows, rejected = sum(entry.rows for entry in items), rejects.rows if rejects else 0
    shards = read_tables(items, folder, pa.schema([ITEM_SCHEMA.field("shard")]))["shard"].unique().to_pylist()  # nothing finds the others
    return replace(
        state,
        items=items,
        shards=tuple(sorted(shards)),
        rejects=rejects,
        rows=rows,
        rejected=rejected,
        pending=state.listed - rows - rejected,
    )


def _draft(base: Manifest, corpus: str, state: CorpusState) -> Manifest:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return replace(base, nonce=secrets.token_hex(16), created=now, corpora={corpus: state}, provenance={"operation": "repair"})
