"""Mending a set: damaged and missing files come from another copy of the store, or their items are given back to extraction.

What has no sound copy is given up only when asked: damaged shards are removed, and a newest version that lists damaged files is followed
by one without them, in which the items that they cost are pending (`storage.given_up_items`). Older versions that list such a file stay
damaged. Versions that are lost, or whose manifest is damaged, are noted as absent, and tags that mean them are removed
(`storage.lost_versions`). So it is with records of takedowns (`storage.takedown_repair`), and not with tombstones.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from storage.absent import FOLDER as ABSENT
from storage.absent import MARKER, mark_absent, write_marker
from storage.card_page import FILE as PAGE
from storage.card_page import leave_page
from storage.copy_history import CopyHistory, compare_histories
from storage.errors import DamagedError, NotFoundError, PermafrostError, UsageError
from storage.expected_versions import named_versions, read_hint
from storage.files import exists, list_names, private_file, publish_as, read_bytes, read_chunks, remove, sha256_of, write_atomic
from storage.finding import Finding, Verification
from storage.given_up_items import give_up_items
from storage.hints import leave_hints
from storage.lost_versions import give_up_versions
from storage.names import SetName
from storage.place import Place, same_place
from storage.sealed import unseal
from storage.store import STORE_FILE, require_writable
from storage.takedown_cache import honour_takedowns
from storage.takedown_repair import files_that_left, give_up_records, is_lost_tombstone, lacks_another, take_what_lacks
from storage.takedown_scan import SetScan
from storage.takedown_set import SetTakedown, clean_set
from storage.tombstones import read_tombstones, set_label
from storage.verify import verify_set
from storage.web_root import CATALOG, HINT, TAKEDOWNS

logger = logging.getLogger(__name__)

_UP = "../../"  # begins the paths of what lies in the root of the store
MENDABLE = frozenset({"missing", "resized", "damaged", "unannounced"})
_MANIFEST = re.compile(r"versions/([0-9]{8})[.]json")
_MARKER = re.compile(f"{ABSENT}/{MARKER.pattern}")
MAX_ROUNDS = 3  # a manifest that comes back may list further files that are gone


@dataclass(frozen=True)
class Repair:
    """mended: (path, where the copy came from). given_up: paths of damaged shards and pages that were removed, of lost versions, and of
    tags that meant them. version: the new one, without what was damaged or lost. left: what is still wrong. taken_out: paths of files
    that had what was taken down, and left."""

    mended: tuple[tuple[str, str], ...]
    given_up: tuple[str, ...]
    version: int | None
    left: Verification
    taken_out: tuple[str, ...] = ()


def repair_set(name: SetName, copies: Sequence[Place] = (), give_up: bool = False) -> Repair:
    """Verify in full, and mend what is damaged or missing.

    copies: roots of stores that may have sound copies of the same set. give_up: give what none of them has back to extraction.
    Raises NotFoundError for a set that is not there, UsageError for a store behind a web server, and for a copy that is the store itself.
    """
    mended: list[tuple[str, str]] = []
    require_writable(name.root)
    for root in copies:
        if same_place(root, name.root):
            raise UsageError(f"{root} is the store of the set itself, and no copy of it: expected the root of another one")
    verification = verify_set(name, full=True)
    histories = [_history(name, SetName(root, name.team, name.name)) for root in copies]
    taken_down = files_that_left(name)
    for _ in range(MAX_ROUNDS):
        wanted = [f for f in verification.findings if _is_mendable(f) and f.sha256 not in taken_down]
        found = [(path, where) for path, where in ((f.path, _mend(name, f, histories)) for f in wanted) if where]
        mended += found
        if not found:
            break
        verification = verify_set(name, full=True)
    is_listed = any(finding.sha256 in taken_down for finding in verification.findings)  # by a writer who died before he saw the takedown
    taken_out: set[str] = set()
    if (mended or is_listed or any(map(is_restored, verification.findings))) and (cleaned := _clean(name)):
        taken_out |= {gone.path for gone in cleaned.files}
        verification = verify_set(name, full=True)
    given_up: list[str] = []
    version: int | None = None
    if give_up:
        _require_readable(name, verification)
        given_up, version = give_up_versions(name)
        records = give_up_records(name, _damage(verification))
        if records and (cleaned := _clean(name)):
            taken_out |= {gone.path for gone in cleaned.files}
            verification = verify_set(name, full=True)
        given_up += records
        given_up += _remove_shards(name, verification)
        given_up += _remove_pages(name, verification)
        if not any(map(_keeps_from_committing, _damage(verification))):
            version = give_up_items(name, {finding.path for finding in _damage(verification)}) or version
        verification = verify_set(name, full=True)
    return Repair(tuple(mended), tuple(given_up), version, verification, tuple(sorted(taken_out)))


def _clean(name: SetName) -> SetTakedown | None:
    """A manifest from a copy may list what was taken down here: what left then. None: nothing was looked for."""
    try:
        return clean_set(SetScan(name)) if read_tombstones(name) else None
    except DamagedError:  # of a set that could not be mended nobody knows what is in it
        return SetTakedown(set_label(name))


def is_restored(finding: Finding) -> bool:
    """It holds what was taken down, unlike a tombstone whose takedown is at work."""
    return finding.kind == "unfinished" and not finding.path.startswith(_UP)


def _damage(verification: Verification) -> list[Finding]:
    return [finding for finding in verification.findings if finding.is_damage]


def _keeps_from_committing(finding: Finding) -> bool:
    """It is what the set is, or what must not come back; `storage.way_out` says what to do first."""
    return finding.path == "set.json" or is_lost_tombstone(finding)


def _is_mendable(finding: Finding) -> bool:
    return finding.kind in MENDABLE or lacks_another(finding)


def _mend(name: SetName, finding: Finding, copies: Sequence[CopyHistory]) -> str | None:
    """Take a sound copy of a file; returns where it was. What is made of the rest is made again."""
    if found := _MARKER.fullmatch(finding.path):
        write_marker(name, int(found[1]))
        return "the set itself"
    if finding.path == PAGE:
        leave_page(name)
        return "the set itself"
    if lacks_another(finding):
        return take_what_lacks(name, finding, [history.copy.root for history in copies], partial(_take_entry, name))
    catalog = f"{_UP}{CATALOG}"
    taken = _take(name, finding, copies) if finding.kind != "unannounced" and finding.path != catalog else None
    if finding.path in (HINT, catalog):  # also that of a copy, where other versions may be absent than here
        leave_hints(name)
        return taken or "the set itself"
    return taken or _mark_as_told(name, finding)


def _mark_as_told(name: SetName, finding: Finding) -> str | None:
    """Of a version that is in no copy, the marker may be what is lost: then the set's own hint tells that it has left. What a tag or a head
    names never does; and a marker in a copy says nothing, for a version may just not have been copied there."""
    found = _MANIFEST.fullmatch(finding.path) if finding.kind == "missing" else None
    if not found or (version := int(found[1])) not in read_hint(name).absent or version in named_versions(name):
        return None
    mark_absent(name, [version])
    return str(name.folder / HINT)


def _take(name: SetName, finding: Finding, copies: Sequence[CopyHistory]) -> str | None:
    sha256, target = finding.sha256, _place(name, finding.path)
    for history in copies:
        with suppress(PermafrostError, OSError):
            place = _place(history.copy, finding.path)
            if sha256 and sha256_of(place) == sha256:
                _publish(place, target)
                return str(place)
            if not sha256 and _is_copy_of(history.copy, name, finding.path) and history.may_give(finding.path):
                data = read_bytes(place)
                unseal(data, place, "file")
                write_atomic(target, data)
                return str(place)
    return None


def _take_entry(name: SetName, entry: str, root: Place) -> bool:
    history = CopyHistory(SetName(root, name.team, name.name))
    return _take(name, Finding("missing", f"{_UP}{TAKEDOWNS}/{entry}", ""), [history]) is not None


def _history(name: SetName, copy: SetName) -> CopyHistory:
    """Raises NotFoundError: that a root is mistyped must not look as if the copy had nothing. Opens the store for this machine's cache."""
    honour_takedowns(copy.root)
    if not exists(copy.root / STORE_FILE) and not list_names(copy.folder):
        raise NotFoundError(f"there is no store at {copy.root} to take anything from: expected the root of one that has the set, too")
    history = compare_histories(name, copy)
    if history.other or history.only_copy:
        logger.warning("%s", history.in_words())
    return history


def _require_readable(name: SetName, verification: Verification) -> None:
    """Raises PermafrostError for a file that this user may not read: whether that is damaged, he cannot tell."""
    for finding in _damage(verification):
        place = _place(name, finding.path)
        if isinstance(place, Path) and place.exists() and not os.access(place, os.R_OK):
            raise PermafrostError(
                f"{place} cannot be read by this user, and may be sound: nothing was given up; repair the set as its owner"
            )


def _place(name: SetName, path: str) -> Place:
    """Of a finding: in the set, or in the root of its store."""
    return name.root / path.removeprefix(_UP) if path.startswith(_UP) else name.folder / path


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
