"""Receipts of units as a takedown sees them: rows of items, and the shard that they point into."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.damage import damage_named
from storage.errors import DamagedError
from storage.files import FileEntry
from storage.names import SetName
from storage.runs import RunFolder, run_folders
from storage.tombstones import TAKEN_DOWN, KnownFile, Tombstones, hashed, known_file

# digest: null where the bytes could not be read. row: row in the unit's own shard; null where the embedding is elsewhere (a
# duplicate, or known before) or the item is a reject, which has reason and message.
RECEIPT_COLUMNS = {
    "key": pa.string(),
    "stamp": pa.string(),
    "digest": pa.binary(32),
    "row": pa.int32(),
    "reason": pa.string(),
    "message": pa.string(),
}
HEAD = b"permafrost"  # schema metadata: unit, corpus, shard and counters
MASK = f"{TAKEN_DOWN}:"  # before the sha256 of a key that must not be told


@dataclass(frozen=True)
class ReceiptRows:
    """What a first look at a receipt tells; its table is read anew each time: all those of a large run would be too much for memory.

    known: names of images that were taken down. by_key: digests of rows that go by their key. suspect: whether rows may have to go.
    """

    run: RunFolder
    unit: str
    finished: bool  # the run has a report
    corpus: str
    shard: FileEntry | None
    known: frozenset[KnownFile]
    by_key: frozenset[bytes]
    suspect: bool

    def table(self) -> pa.Table:
        """With key; and digest, stamp, row, reason and message, as far as the receipt has them. Empty if it has gone meanwhile."""
        table = self.run.read_receipt(self.unit)
        return pa.table({"key": pa.array([], pa.string())}) if table is None else table

    def has_taken(self, stones: Tombstones) -> bool:
        return self.suspect and bool(stones.taken(with_digest(self.table()), self.corpus).any())

    def kept(self, stones: Tombstones) -> frozenset[bytes]:
        """Digests of rows that stay, of a run that did not finish: the next one builds on them."""
        if self.finished:
            return frozenset()
        table = with_digest(self.table())
        return _digests(table, ~stones.taken(table, self.corpus))

    def kept_rows(self, stones: Tombstones) -> dict[str, npt.NDArray[np.int64]]:
        """The same by place: the sha256 of the shard, and rows there."""
        if self.finished or self.shard is None:
            return {}
        table = with_digest(self.table())
        if "row" not in table.column_names:
            return {}
        rows = table["row"].filter(pa.array(~stones.taken(table, self.corpus))).drop_null()
        return {self.shard.sha256: rows.to_numpy().astype(np.int64)}

    def masked(self, stones: Tombstones) -> pa.Table:
        """The receipt without what tells of the rows that go."""
        table = self.table()
        return mask_rows(table, stones.taken(with_digest(table), self.corpus))


def receipts_of(name: SetName, stones: Tombstones, of_finished: bool = True) -> tuple[list[ReceiptRows], list[str]]:
    """(the receipts of a set, paths of those that cannot be read). of_finished: also those of runs that have finished."""
    found: list[ReceiptRows] = []
    unreadable = []
    for run in run_folders(name):
        finished = run.finished
        for unit in run.units_finished() if of_finished or not finished else ():
            try:
                table = run.read_receipt(unit)
                if table is not None:
                    with damage_named(run.path / "receipts" / f"{unit}.parquet", "receipt"):
                        _require_receipt(table)
                        found.append(_first_look(run, unit, finished, table, stones))
            except DamagedError:  # or no receipt: nobody knows what is in it
                unreadable.append(f"runs/{run.run_id}/receipts/{unit}.parquet")
    return found, unreadable


def _require_receipt(table: pa.Table) -> None:
    """Raise ValueError if the table has a column that no receipt has, or keys that are none."""
    foreign = [field.name for field in table.schema if RECEIPT_COLUMNS.get(field.name) != field.type]
    if foreign or "key" not in table.column_names or table["key"].null_count:
        raise ValueError(f"not the columns of a receipt: {foreign or 'key'}")


def _first_look(run: RunFolder, unit: str, finished: bool, table: pa.Table, stones: Tombstones) -> ReceiptRows:
    head = json.loads((table.schema.metadata or {}).get(HEAD, b"{}"))
    corpus, shard = str(head.get("corpus", "")), head.get("shard")
    digests = with_digest(table)["digest"]
    by_image, by_key = stones.taken_by_image(digests), stones.taken_by_key(table, corpus)
    names = table.filter(pa.array(by_image)).select(["digest", "key", "stamp"]).to_pylist() if by_image.any() else []
    return ReceiptRows(
        run,
        unit,
        finished,
        corpus,
        FileEntry(**shard) if shard else None,
        frozenset(known_file(row["digest"], corpus, row["key"], row["stamp"]) for row in names),
        _digests(with_digest(table), by_key) if by_key.any() else frozenset(),
        bool(by_image.any() or by_key.any() or digests.null_count),
    )


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
    if table["reason"].null_count == table.num_rows:  # of most receipts
        return table, frozenset()
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
