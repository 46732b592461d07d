"""Receipts of units as a takedown sees them: rows of items, and the shard that they point into."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import DamagedError
from storage.files import FileEntry
from storage.names import SetName
from storage.runs import RunFolder, run_folders
from storage.tombstones import TAKEN_DOWN, KnownFile, Tombstones, hashed, known_file

HEAD = b"permafrost"  # schema metadata: unit, corpus, shard and counters
MASK = f"{TAKEN_DOWN}:"  # before the sha256 of a key that must not be told


@dataclass(frozen=True)
class ReceiptRows:
    """One receipt, read anew each time: all of a large run would be too much for memory."""

    run: RunFolder
    unit: str
    finished: bool  # the run has a report

    @property
    def table(self) -> pa.Table:
        """With key; and digest, stamp, row, reason and message, as far as the receipt has them. Empty if it has gone meanwhile."""
        table = self.run.read_receipt(self.unit)
        return pa.table({"key": pa.array([], pa.string())}) if table is None else table

    @cached_property
    def _head(self) -> dict[str, object]:
        head: dict[str, object] = json.loads((self.table.schema.metadata or {}).get(HEAD, b"{}"))
        return head

    @property
    def corpus(self) -> str:
        return str(self._head.get("corpus", ""))

    @property
    def shard(self) -> FileEntry | None:
        shard = self._head.get("shard")
        return FileEntry(**shard) if isinstance(shard, dict) else None

    def taken(self, stones: Tombstones) -> npt.NDArray[np.bool_]:
        return stones.taken(with_digest(self.table), self.corpus)

    def known(self, stones: Tombstones) -> frozenset[KnownFile]:
        """Names of the images that were taken down."""
        table = self.table
        if "digest" not in table.column_names:
            return frozenset()
        rows = table.filter(pa.array(stones.taken_by_image(table["digest"]))).select(["digest", "key", "stamp"]).to_pylist()
        return frozenset(known_file(row["digest"], self.corpus, row["key"], row["stamp"]) for row in rows)

    def by_key(self, stones: Tombstones) -> frozenset[bytes]:
        """Digests of rows that go by their key."""
        if not stones.keys:
            return frozenset()
        table = with_digest(self.table)
        return _digests(table, stones.taken_by_key(table, self.corpus))

    def kept(self, stones: Tombstones) -> frozenset[bytes]:
        """Digests of rows that stay, of a run that did not finish: the next one builds on them."""
        if self.finished:
            return frozenset()
        table = with_digest(self.table)
        return _digests(table, ~stones.taken(table, self.corpus))

    def masked(self, stones: Tombstones) -> pa.Table:
        """The receipt without what tells of the rows that go."""
        table = self.table
        return mask_rows(table, stones.taken(with_digest(table), self.corpus))


def receipts_of(name: SetName) -> list[ReceiptRows]:
    """All receipts of a set that can be read; the others are as if their units had not been finished."""
    found = []
    for run in run_folders(name):
        finished = run.finished
        for unit in run.units_finished():
            receipt = ReceiptRows(run, unit, finished)
            with suppress(DamagedError):
                receipt.shard  # noqa: B018 - reads it
                found.append(receipt)
    return found


def mask_rows(table: pa.Table, chosen: npt.NDArray[np.bool_]) -> pa.Table:
    """The same rows, without what these tell of their items: instead of its key there is the key's sha256."""
    if not chosen.any():
        return table
    columns = {"key": [f"{MASK}{hashed(key)}" if gone else key for key, gone in zip(table["key"].to_pylist(), chosen, strict=True)]}
    instead = {"stamp": "", "digest": None, "row": None, "reason": TAKEN_DOWN, "message": ""}
    for name in (name for name in table.column_names if name in instead):
        columns[name] = [instead[name] if gone else value for value, gone in zip(table[name].to_pylist(), chosen, strict=True)]
    return pa.table([pa.array(columns[f.name], f.type) if f.name in columns else table[f.name] for f in table.schema], schema=table.schema)


def masked_names(table: pa.Table) -> tuple[pa.Table, frozenset[str]]:
    """(the rows that are not masked, sha256 of the keys of the others). table: with key and reason."""
    masked = pc.equal(table["reason"], TAKEN_DOWN).fill_null(False)
    names = frozenset(key.removeprefix(MASK) for key in table["key"].filter(masked).to_pylist())
    return (table.filter(pc.invert(masked)), names) if names else (table, names)


def _digests(table: pa.Table, chosen: npt.NDArray[np.bool_]) -> frozenset[bytes]:
    return frozenset(table["digest"].filter(pa.array(chosen)).drop_null().to_pylist())


def with_digest(table: pa.Table) -> pa.Table:
    if "digest" in table.column_names:
        return table
    return table.append_column("digest", pa.nulls(table.num_rows, pa.binary(32)))


def without_rows(table: pa.Table, removed: Sequence[int]) -> pa.Table:
    """Rows of a receipt whose shard lost some of its own."""
    gone = set(removed)
    rows = [None if row is None or row in gone else row - int(np.searchsorted(removed, row)) for row in table["row"].to_pylist()]
    at = table.schema.get_field_index("row")
    return table.set_column(at, table.schema.field(at), pa.array(rows, table.schema.field(at).type))


def with_shard(table: pa.Table, shard: FileEntry | None) -> pa.Table:
    """A receipt that names this shard in its head."""
    metadata = table.schema.metadata or {}
    if HEAD not in metadata:
        return table
    head = {**json.loads(metadata[HEAD]), "shard": asdict(shard) if shard else None}
    return table.replace_schema_metadata({**metadata, HEAD: json.dumps(head).encode()})
