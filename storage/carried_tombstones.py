"""Tombstones that go along with a copy of a set."""

from __future__ import annotations

from dataclasses import replace

from storage.names import SetName
from storage.takedown_receipts import mark_finished, receipt_names
from storage.tombstones import Record, leave_record, leave_tombstone, read_one, read_tombstones, set_label, takedown_names


def carry_tombstones(source: SetName, target: SetName) -> None:
    """What was taken down in a set stays out of its copy, too, whoever extracts into that. Raises DamagedError, also where one is lost."""
    read_tombstones(source)
    finished = {entry.partition(".")[0] for entry in receipt_names(target.root)}
    for entry in sorted(takedown_names(source.root)):
        found = read_one(source.root, entry)
        if isinstance(found, Record):
            leave_record(target.root, Record(found.known))
        elif found and found.set in (None, set_label(source)):
            carried = replace(found, set=set_label(target))
            leave_tombstone(target.root, carried)
            if carried.id not in finished:
                mark_finished(target.root, carried.id, {"carried_from": str(source)})
