"""The account of one run: every listed item ends as a row, a reject or pending, and the sum is checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from extractor.bad_images import BadImages
from extractor.corpus import Items, Listing
from extractor.diff import Diff, reading_order
from extractor.known import add_shard
from extractor.novelty import classify
from extractor.receipt import Receipt
from extractor.standing import SEEN_COLUMNS, Standing, StandingBlock, settled, standing_block
from storage.digests import DigestMap, Words, to_words, words_of
from storage.index import EmbeddingIndex
from storage.lending import Copied
from storage.receipt_rows import masked_names
from storage.row_file import aligned
from storage.row_sorter import RowSorter
from storage.stored import UNSTORABLE
from storage.tombstones import NOTHING, Tombstones


@dataclass
class Ledger:
    """Collects receipts; `settle` says where each item stands. Memory: that of sorters and digest maps, however many items there are."""

    listing: Listing
    diff: Diff
    index: EmbeddingIndex  # grows with each receipt
    counters: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    new_shards: list[str] = field(default_factory=list)  # sha256, in order of completion
    stones: Tombstones = NOTHING  # what was taken down before the run
    taken: set[str] = field(default_factory=set)  # sha256 of keys whose images were, as receipts tell
    unstorable: int = 0  # images whose embedding the stored dtype cannot hold
    removed: int = 0  # embeddings that a takedown took out of this run's shards
    to_read: int = field(init=False)  # items, of all listings that this run has seen
    _earlier_kinds: Counter[str] = field(default_factory=Counter)  # of what was read for an earlier listing
    _embedded_in: set[str] = field(default_factory=set)  # shards that this run filled with forward passes
    _seen: RowSorter = field(default_factory=lambda: RowSorter(SEEN_COLUMNS, ["key"], last_only=True))
    _bad: BadImages = field(default_factory=BadImages)

    def __post_init__(self) -> None:
        self.to_read = len(self.diff.to_read)

    def add(self, receipt: Receipt) -> None:
        self.counters.update(receipt.counters)
        self.seconds.update(receipt.seconds)  # Counter adds floats as well
        items, taken = masked_names(receipt.items)
        self.taken |= taken
        seen = [*(items[name] for name in ("key", "stamp", "digest", "reason", "message")), items["row"].is_valid()]
        table = pa.table(seen, schema=SEEN_COLUMNS)
        self._seen.add(table)
        self.unstorable += sum(count for reason, count in self._bad.add(table).items() if reason in UNSTORABLE)
        if receipt.shard:
            self.index.unusable.discard(receipt.shard.sha256)  # just published: a damaged one of this content is whole again
            self.new_shards.append(receipt.shard.sha256)
            self._embedded_in.add(receipt.shard.sha256)
        add_shard(self.index, receipt)

    def carry_over(self, earlier: Ledger, others: Collection[str], own: Iterable[Receipt]) -> None:
        """Go on from an earlier ledger of the same run, for a newer listing: what was done counts, bad images stay bad.

        others: shards that other runs filled. One of this run with the very same bytes is theirs. own: this run's receipts as they are now:
        a takedown writes shards anew, under other names.
        """
        self.counters.update(earlier.counters)
        self.seconds.update(earlier.seconds)
        held, names = 0, list[str]()
        for receipt in own:
            held += receipt.items["row"].length() - receipt.items["row"].null_count
            names += [receipt.shard.sha256] if receipt.shard else []
        self.new_shards += [name for name in dict.fromkeys([*earlier.new_shards, *names]) if name not in others]
        self.unstorable += earlier.unstorable
        self.removed = earlier.counters["embedded"] - earlier.unstorable - held
        self.to_read += earlier.to_read
        self._earlier_kinds = Counter(earlier.kinds())
        self._embedded_in |= earlier._embedded_in.union(names).difference(others)
        self._bad.merge(earlier._bad)

    def add_copied(self, copied: Copied) -> None:
        """Enter embeddings that were copied from another set."""
        self.index.add_rows(words_of(list(copied.digests)), copied.rows, copied.shard)
        self.new_shards.append(copied.shard.sha256)
        self.counters["copied"] += len(copied.digests)

    def known_digests(self) -> Iterator[Words]:
        """Of images that nobody is to embed: the set has them, or must not have them."""
        yield words_of(sorted(self.stones.images))
        yield from self.index.digests()

    def in_use(self) -> Counter[str]:
        """Embeddings that count, by the shard of this run that holds them. Of what was computed twice, the first one does."""
        held = self.index.held_by_shard() if self.new_shards else ()
        names, new = self.index.names, set(self.new_shards)
        return Counter({names[number]: int(count) for number, count in enumerate(held) if names[number] in new and count})

    def kept(self, in_use: Counter[str]) -> int:
        """Embeddings that count, and that this run made."""
        return sum(in_use[name] for name in self._embedded_in)

    def twice(self, in_use: Counter[str]) -> int:
        """Images that this run put through the network though another one did so at the same time, or another worker of this one."""
        return self.counters["embedded"] - self.unstorable - self.removed - self.kept(in_use)

    def homeless(self) -> DigestMap:
        """Digests of good images that no shard of the set holds."""
        homeless = DigestMap()
        for block in self._seen.blocks():
            elsewhere = pc.and_(pc.and_(block["reason"].is_null(), block["digest"].is_valid()), pc.invert(block["placed"]))
            words = to_words(block["digest"].filter(elsewhere))
            homeless.add(words[self.index.find(words)[0] < 0])
        return homeless

    def unresolved(self) -> Items:
        """Items whose digest was left to another unit, which then did not deliver it."""
        blocks = self._blocks() if len(self.homeless()) else ()
        return reading_order(block.decided.filter(pa.array(block.unresolved)) for block in blocks)

    def kinds(self) -> dict[str, int]:
        """What the items that had to be read turned out to be, by kind (`extractor.novelty`)."""
        kinds = classify(self._blocks, self.diff, self.index, self._embedded_in)
        return {kind: count + self._earlier_kinds[kind] for kind, count in kinds.items()}

    def settle(self) -> Standing:
        return settled(self._blocks(), self.listing, self.diff.decided.schema, self.index.names)

    def _blocks(self) -> Iterator[StandingBlock]:
        for decided, seen in aligned([self.diff.decided, self._seen], "key"):
            if decided.num_rows:
                yield standing_block(decided, seen, self.index, self._bad, frozenset(self.taken))
