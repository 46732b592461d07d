"""What a worker says of a finished unit: where each of its items went, and what that cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute

from extractor.corpus import Item
from storage.errors import DamagedError
from storage.files import FileEntry
from storage.receipt_rows import RECEIPT_COLUMNS, mask_rows
from storage.tombstones import Tombstones

RECEIPT_FIELDS = list(RECEIPT_COLUMNS.items())


@dataclass(frozen=True)
class Receipt:
    unit: str
    corpus: str
    shard: FileEntry | None  # None: nothing new to store
    items: pa.Table  # RECEIPT_FIELDS, one row an item of the unit, in its order
    counters: Mapping[str, int]  # read, bytes_read, decoded (not in receipts of older versions), embedded
    seconds: Mapping[str, float]  # by stage of extractor.stages; of some only in receipts of older versions
    worker: str = ""  # host/process/number; "" in receipts of older versions
    also: tuple[Receipt, ...] = ()  # what the unit is for the further sets of the run; each is written into the run of its set

    def __reduce__(self) -> tuple[Any, ...]:
        """With the items as bytes of Arrow's own: Ray's way with tables imports pandas, a quarter of a CPU second for each worker with its
        first receipt, takes the driver 0.3 ms more for 300 items, and keeps them in the object store."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.items.schema) as stream:
            stream.write_table(self.items)
        fields = (self.unit, self.corpus, self.shard, self.counters, self.seconds, self.worker, self.also)
        return _receipt_of, (sink.getvalue().to_pybytes(), *fields)

    @property
    def all_sets(self) -> tuple[Receipt, ...]:
        return (self, *self.also)

    def to_table(self) -> pa.Table:
        head = {
            "unit": self.unit,
            "corpus": self.corpus,
            "shard": asdict(self.shard) if self.shard else None,
            "counters": dict(self.counters),
            "seconds": dict(self.seconds),
            "worker": self.worker,
        }
        return self.items.replace_schema_metadata({b"permafrost": json.dumps(head).encode()})

    @classmethod
    def from_table(cls, table: pa.Table) -> Receipt:
        """Parse a receipt; raises DamagedError if it is none."""
        metadata = table.schema.metadata or {}
        if b"permafrost" not in metadata:
            raise DamagedError("a receipt without its head")
        if not table.schema.equals(pa.schema(RECEIPT_FIELDS)):  # an export, or a shard, which have a head too
            raise DamagedError(f"a receipt with other columns than {', '.join(RECEIPT_COLUMNS)}")
        head = json.loads(metadata[b"permafrost"])
        shard = FileEntry(**head.pop("shard")) if head["shard"] else head.pop("shard")
        return cls(items=table.replace_schema_metadata(None), shard=shard, **head)


def _receipt_of(items: bytes, unit: str, corpus: str, shard: FileEntry | None, *others: Any) -> Receipt:
    with pa.ipc.open_stream(items) as stream:
        return Receipt(unit, corpus, shard, stream.read_all(), *others)


def items_table(
    items: Sequence[Item], digests: Sequence[bytes | None], rows: Mapping[int, int], rejects: Mapping[int, tuple[str, str]]
) -> pa.Table:
    """RECEIPT_FIELDS of a unit's items. rows: row in its shard by position. rejects: (reason, message) by position."""
    n = range(len(items))
    columns = [
        [item.key for item in items],
        [item.stamp for item in items],
        digests,
        [rows.get(i) for i in n],
        [rejects[i][0] if i in rejects else None for i in n],
        [rejects[i][1] if i in rejects else None for i in n],
    ]
    return pa.table(columns, schema=pa.schema(RECEIPT_FIELDS))


def masked(items: pa.Table, corpus: str, stones: Tombstones) -> pa.Table:
    """A receipt's table without the names of what was taken down."""
    return mask_rows(items, stones.taken(items, corpus)) if stones else items


def embedded_digests(items: pa.Table) -> list[bytes]:
    """Digests of the images that a unit's own shard holds. items: a receipt's table."""
    digests: list[bytes] = items["digest"].filter(pa.compute.is_valid(items["row"])).to_pylist()
    return digests
