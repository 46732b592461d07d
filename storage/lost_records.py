"""Records of takedowns that are lost: a receipt tells of files that left, and no record names them any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from storage.tombstones import Gone, Record, parse_gone


def files_without_record(receipts: Mapping[str, Mapping[str, Any]], records: Iterable[Record]) -> dict[str, tuple[Gone, ...]]:
    """By name of a receipt, what it says has left, and no record does. receipts: their content by name; one that came with a copy of a
    set tells of no files."""
    named = {(gone.set, gone.path) for record in records for gone in record.gone}
    told = {
        receipt: tuple(parse_gone(file) for each in content.get("sets", ()) for file in each["files"])
        for receipt, content in receipts.items()
    }
    left = {receipt: tuple(gone for gone in files if (gone.set, gone.path) not in named) for receipt, files in told.items()}
    return {receipt: files for receipt, files in left.items() if files}
