"""Proof of what a store keeps of its takedowns: each of tombstone, records and receipt is told of by the others, and by the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from storage.errors import DamagedError, NotFoundError
from storage.finding import Finding
from storage.lost_records import files_without_record
from storage.lost_tombstones import lost_tombstones, takedowns_told
from storage.names import SetName
from storage.place import Place
from storage.store import is_behind_web
from storage.takedown_receipts import RECEIPTS, read_receipt, receipt_names
from storage.tombstones import RECORD, Record, Tombstone, read_one, set_label, split, takedown_names, unfinished
from storage.web_root import CATALOG, TAKEDOWNS

UP = f"../../{TAKEDOWNS}/"  # begins the paths of findings
_MOST_IMAGES = 3  # that a message names
Read = Callable[[str, Callable[[], Any]], Any]


def check_takedowns(name: SetName, read: Read) -> tuple[frozenset[str], list[Finding]]:
    """(names of tombstones and records that are there, what is wrong beside what `read` has told).

    read: reads what is at a path of a finding, and tells what is wrong with it; returns None then.
    """
    root = name.root
    receipts = receipt_names(root)  # before the tombstones and records, which they come after
    try:
        names = takedown_names(root)
    except DamagedError:  # of a web server's catalog, which is told anyway
        names = frozenset()
    told = takedowns_told(root) - names
    found = {entry: read(f"{UP}{entry}", partial(_read_told, root, entry)) for entry in sorted(names | told)}
    contents = {entry: read(f"{UP}{RECEIPTS}/{entry}", partial(read_receipt, root, entry)) for entry in receipts}
    stones, records = split({entry: value for entry, value in found.items() if value})
    all_read = all(found[entry] for entry in names)
    findings = []
    for entry, why in lost_tombstones(names, (), receipts, stones, records if all_read else {}).items():
        if entry not in told:  # else it is told by now
            findings.append(Finding("dangling" if entry in names else "missing", f"{UP}{entry}", why))
    if all_read and not any(entry.startswith(RECORD) and not found[entry] for entry in told):
        findings += _of_receipts({entry: content for entry, content in contents.items() if content}, records.values())
    return names, [*findings, *_unfinished(name, stones)]


def _read_told(root: Place, entry: str) -> Tombstone | Record:
    if (found := read_one(root, entry)) is None:
        raise NotFoundError(f"it is not there, and {CATALOG} tells of it")
    return found


def _of_receipts(contents: dict[str, Any], records: Iterable[Record]) -> list[Finding]:
    why = "it tells of {} files that left, and no record names them: the record is lost"
    lost = files_without_record(contents, records)
    return [Finding("dangling", f"{UP}{RECEIPTS}/{entry}", why.format(len(files))) for entry, files in lost.items()]


def _unfinished(name: SetName, stones: Iterable[Tombstone]) -> list[Finding]:
    """Takedowns that concern the set and have no receipt. Web servers list none."""
    ids = set() if is_behind_web(name.root) else {*unfinished(name.root)}
    why = "it has no receipt: this takedown is at work, or was cut off, or its receipt is lost"
    return [
        Finding("unfinished", f"{UP}{stone.id}.json", f"{why}; {_same_takedown(name.root, stone)} finishes it")
        for stone in stones
        if stone.id in ids and stone.set in (None, set_label(name))
    ]


def _same_takedown(root: Place, stone: Tombstone) -> str:
    target = f"{root}/{stone.set}" if stone.set else root
    if stone.keys or len(stone.images) > _MOST_IMAGES:
        what = f"{len(stone.keys)} keys" if stone.keys else f"{len(stone.images)} images"
        return f"the same takedown of {what} from {target}"
    return f"`permafrost store takedown {target} {' '.join(f'--image {image}' for image in stone.images)} --yes`"
