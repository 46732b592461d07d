"""The account of one run: every listed item ends as a row, a reject or pending, and the sum is checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute

from extractor.corpus import Item, Listing
from extractor.diff import Diff, Known
from extractor.novelty import classify
from extractor.receipt import Receipt, embedded_digests
from storage.index import EmbeddingIndex
from storage.items import ITEM_SCHEMA, REJECT_SCHEMA
from storage.lending import Copied
from storage.stored import UNSTORABLE


@dataclass
class Ledger:
    """Collects receipts; `settle` says where each item stands."""

    listing: Listing
    diff: Diff
    index: EmbeddingIndex  # grows with each receipt
    counters: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    new_shards: list[str] = field(default_factory=list)  # sha256, in order of completion
    _seen: dict[str, Known] = field(default_factory=dict)
    _embedded: set[bytes] = field(default_factory=set)  # digests of the images that this run embedded
    _bad_digests: dict[bytes, tuple[str, str]] = field(default_factory=dict)

    def add(self, receipt: Receipt) -> None:
        self.counters.update(receipt.counters)
        self.seconds.update(receipt.seconds)  # Counter adds floats as well
        for key, known in known_items(receipt).items():
            self._seen[key] = known
            if known.digest and known.reject:
                self._bad_digests[known.digest] = known.reject
        self._embedded.update(embedded_digests(receipt.items))
        if receipt.shard:
            self.index.unusable.discard(receipt.shard.sha256)  # just published: a damaged one of this content is whole again
            self.new_shards.append(receipt.shard.sha256)
        add_shard(self.index, receipt)

    @property
    def unstorable(self) -> int:
        """Images whose embedding the stored dtype cannot hold."""
        return sum(reason in UNSTORABLE for reason, _ in self._bad_digests.values())

    def carry_over(self, earlier: Ledger) -> None:
        """Go on from an earlier ledger of the same run, for a newer listing: what was done counts, bad images stay bad."""
        self.counters.update(earlier.counters)
        self.seconds.update(earlier.seconds)
        self.new_shards += earlier.new_shards
        self._bad_digests.update(earlier._bad_digests)
        self._embedded.update(earlier._embedded)

    def add_copied(self, copied: Copied) -> None:
        """Enter embeddings that were copied from another set."""
        self.index.shards[copied.shard.sha256] = copied.shard
        self.index.places.update({digest: (copied.shard.sha256, row) for digest, row in zip(copied.digests, copied.rows, strict=True)})
        self.new_shards.append(copied.shard.sha256)
        self.counters["copied"] += len(copied.digests)

    def homeless(self) -> set[bytes]:
        """Digests of good images that no shard of the set holds."""
        return {known.digest for known in self._seen.values() if known.digest and not known.reject} - self.index.places.keys()

    def unresolved(self) -> list[Item]:
        """Items whose digest was left to another unit, which then did not deliver it."""
        return [item for item in self.diff.to_read if item.key in self._seen and self._standing(item) is None]

    def kinds(self) -> dict[str, int]:
        """What the items that had to be read turned out to be, by kind (`extractor.novelty`)."""
        standing = {item.key: self._standing(item) for item in self.diff.to_read}
        return classify(self.diff, {key: known for key, known in standing.items() if known}, self._embedded)

    def settle(self) -> Standing:
        rows, pending = [], 0
        rejects = [(r.key, Known(r.stamp, None, (r.reason, r.message))) for r in self.listing.rejects]
        for number, item in enumerate(self.listing.items):
            standing = self._standing(item)
            if standing is None:
                pending += 1
            elif standing.reject:
                rejects.append((item.key, replace(standing, stamp=item.stamp)))
            else:
                rows.append((number, standing))
        return Standing(self._items_table(rows), self._rejects_table(rejects), pending)

    def _standing(self, item: Item) -> Known | None:
        """Where an item stands now, or None: pending."""
        known = self.diff.unchanged.get(item.key) or self._seen.get(item.key)
        if known is None or known.reject or known.digest in self.index.places:
            return known
        # Its twin was claimed by another unit and turned out bad: so is this one, being the same bytes.
        reject = self._bad_digests.get(known.digest or b"")
        return Known(known.stamp, known.digest, reject) if reject else None

    def _items_table(self, rows: list[tuple[int, Known]]) -> pa.Table:
        """ITEM_SCHEMA and the listing's attributes, for the items of these numbers."""
        places = [self.index.places[known.digest or b""] for _, known in rows]
        items = [self.listing.items[number] for number, _ in rows]
        columns = {
            "key": [item.key for item in items],
            "corpus": [self.listing.corpus_id] * len(rows),
            "digest": [known.digest for _, known in rows],
            "stamp": [item.stamp for item in items],
            "shard": [shard for shard, _ in places],
            "row": [row for _, row in places],
            "label": [item.label for item in items],
            "split": [item.split for item in items],
        }
        table = pa.table({name: pa.array(values, ITEM_SCHEMA.field(name).type) for name, values in columns.items()}, schema=ITEM_SCHEMA)
        if self.listing.attributes is not None:
            chosen = self.listing.attributes.take(pa.array([number for number, _ in rows], pa.int64()))
            for name in chosen.column_names:
                table = table.append_column(chosen.schema.field(name), chosen[name])
        return table

    def _rejects_table(self, rejects: list[tuple[str, Known]]) -> pa.Table:
        columns = {
            "key": [key for key, _ in rejects],
            "corpus": [self.listing.corpus_id] * len(rejects),
            "digest": [known.digest for _, known in rejects],
            "stamp": [known.stamp for _, known in rejects],
            "reason": [known.reject[0] if known.reject else "" for _, known in rejects],
            "message": [known.reject[1] if known.reject else "" for _, known in rejects],
        }
        return pa.table(columns, schema=REJECT_SCHEMA)


@dataclass(frozen=True)
class Standing:
    """listed = items.num_rows + rejects.num_rows + pending."""

    items: pa.Table  # ITEM_SCHEMA and attributes
    rejects: pa.Table  # REJECT_SCHEMA
    pending: int

    def reasons(self) -> Mapping[str, int]:
        return dict(sorted(Counter(self.rejects["reason"].to_pylist()).items()))


def known_items(receipt: Receipt) -> dict[str, Known]:
    """What a receipt says of each key."""
    table = receipt.items
    rejects = [(reason, message) if reason else None for reason, message in _pairs(table, "reason", "message")]
    return {
        key: Known(stamp, digest, reject)
        for (key, stamp), digest, reject in zip(_pairs(table, "key", "stamp"), table["digest"].to_pylist(), rejects, strict=True)
    }


def add_shard(index: EmbeddingIndex, receipt: Receipt) -> None:
    """Enter the embeddings that a receipt's shard holds."""
    if receipt.shard:
        held = receipt.items.filter(pa.compute.is_valid(receipt.items["row"]))
        held = held.append_column("shard", pa.array([receipt.shard.sha256] * held.num_rows, pa.string()))
        index.add(held, (receipt.shard,))


def _pairs(table: pa.Table, a: str, b: str) -> list[tuple[str, str]]:
    return list(zip(table[a].to_pylist(), table[b].to_pylist(), strict=True))
