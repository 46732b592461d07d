"""Mending what a store keeps of its takedowns: from copies; given up, from what receipts tell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from storage.errors import DamagedError, PermafrostError
from storage.files import remove
from storage.finding import Finding
from storage.hints import leave_hints
from storage.lost_records import files_without_record
from storage.names import SetName
from storage.place import Place
from storage.sealed import is_damaged
from storage.takedown_receipts import RECEIPTS, read_receipt, receipt_names
from storage.tombstones import RECORD, Record, Tombstone, leave_record, read_one, set_label, takedown_names
from storage.verify_takedowns import UP
from storage.web_root import TAKEDOWNS

_TOMBSTONE = re.compile(rf"{re.escape(UP)}[0-9a-f]{{20}}\.json")
Take = Callable[[str, Place], bool]  # takes a file of this name in takedowns/ from a root; whether it could


def lacks_another(finding: Finding) -> bool:
    """It is the record or receipt of a takedown that another file should tell of, too. What that was, a copy may say."""
    return finding.kind == "dangling" and finding.path.startswith(UP)


def is_lost_tombstone(finding: Finding) -> bool:
    """Or a damaged one."""
    return finding.kind in ("missing", "damaged") and bool(_TOMBSTONE.fullmatch(finding.path))


def take_what_lacks(name: SetName, finding: Finding, copies: Sequence[Place], take: Take) -> str | None:
    """Tombstones that a record may be of, or records that a receipt may be of; returns where they were. Too many are no harm but to what
    they name."""
    entry = finding.path.removeprefix(UP)
    matches = partial(_has_files_of, _files(name, entry)) if entry.startswith(RECEIPTS) else partial(_may_be_of, read_one(name.root, entry))
    for root in copies:
        taken = False
        with suppress(PermafrostError, OSError):
            for there in sorted(takedown_names(root) - takedown_names(name.root)):
                taken |= matches(read_one(root, there)) and take(there, root)
        if taken:
            return str(root / TAKEDOWNS)
    return None


def _may_be_of(record: Tombstone | Record | None, stone: Tombstone | Record | None) -> bool:
    """Of the same images, or of keys of the same set."""
    assert isinstance(record, Record)
    images, sets = {file.image for file in record.known}, {gone.set for gone in record.gone}
    return isinstance(stone, Tombstone) and bool(images & {*stone.images} or (stone.set in sets and stone.keys))


def _files(name: SetName, receipt: str) -> frozenset[tuple[str, str]]:
    entry = receipt.removeprefix(f"{RECEIPTS}/")
    lost = files_without_record({entry: read_receipt(name.root, entry)}, _records(name.root))
    return frozenset((gone.set, gone.path) for gone in lost.get(entry, ()))


def _has_files_of(files: frozenset[tuple[str, str]], record: Tombstone | Record | None) -> bool:
    return isinstance(record, Record) and not files.isdisjoint((gone.set, gone.path) for gone in record.gone)


def files_that_left(name: SetName) -> frozenset[str]:
    """sha256 of the files of a set that records, or receipts, tell of, as far as they can be read: no copy should bring them back."""
    told = [gone for files in files_without_record(_receipts(name.root), ()).values() for gone in files]
    recorded = (gone for record in _records(name.root) for gone in record.gone)
    return frozenset(gone.sha256 for gone in (*told, *recorded) if gone.set == set_label(name))


def _records(root: Place) -> list[Record]:
    """Those that can be read."""
    found = []
    for entry in takedown_names(root):
        with suppress(DamagedError):
            found.append(read_one(root, entry))
    return [each for each in found if isinstance(each, Record)]


def give_up_records(name: SetName, findings: Iterable[Finding]) -> list[str]:
    """Let go records that are damaged or lost, and damaged receipts; returns their paths. What receipts tell of a record is written anew:
    which files left, and not by which names extractions know the images."""
    root, given_up = name.root, []
    stones = takedown_names(root)
    ours = [finding for finding in findings if finding.path.startswith(UP)]
    for finding in ours:
        entry = finding.path.removeprefix(UP)
        receipt = entry.removeprefix(f"{RECEIPTS}/")
        is_spare = entry.startswith(RECORD) or (receipt != entry and f"{receipt.partition('.')[0]}.json" in stones)
        if is_spare and (finding.kind == "missing" or is_damaged(root / TAKEDOWNS / entry)):
            remove(root / TAKEDOWNS / entry)
            given_up.append(finding.path)
    if given_up or any(map(lacks_another, ours)):
        _write_anew(root)
        leave_hints(name, given_up=[path.removeprefix(UP) for path in given_up])
    return given_up


def _write_anew(root: Place) -> None:
    for files in files_without_record(_receipts(root), _records(root)).values():
        leave_record(root, Record(gone=files))


def _receipts(root: Place) -> dict[str, dict[str, Any]]:
    """Those that can be read, by name."""
    contents = {}
    for entry in receipt_names(root):
        with suppress(DamagedError):
            contents[entry] = read_receipt(root, entry)
    return contents
