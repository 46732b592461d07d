"""What the items that had to be read turned out to be. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import numpy as np
import pyarrow as pa

from extractor.diff import CHANGED, DIGEST, REASON, STATE, UNCHANGED, Diff
from extractor.standing import Flags, StandingBlock
from storage.digests import DigestMap, Words, to_words
from storage.index import EmbeddingIndex

# In the order in which they are told. All but the first needed no forward pass.
KINDS = {
    "new": "images that nobody had embedded",
    "renamed": "images of keys that are gone",
    "duplicate": "images that the corpus has under another key, too",
    "elsewhere": "images that other versions, corpora or sets hold",
    "same": "files with another stamp and the bytes they had",
    "rejected": "files that gave no embedding",
    "pending": "files that were not finished",
    "taken_down": "files with images that were taken down",
}


def classify(
    blocks: Callable[[], Iterable[StandingBlock]], diff: Diff, index: EmbeddingIndex, embedded_in: Collection[str]
) -> dict[str, int]:
    """Count the items of `diff.to_read` by kind, so that the counts add up to them.

    blocks: where all items stand; called twice. embedded_in: shards that this run filled with forward passes.
    """
    counts = dict.fromkeys(KINDS, 0)
    candidates = _Candidates()
    for block in blocks() if len(diff.to_read) else ():
        read = block.decided[STATE].to_numpy() != UNCHANGED
        same = read & block.good & _is_same(block)
        counts["rejected"] += int((read & block.rejected).sum())
        counts["pending"] += int((block.unseen | block.unresolved).sum())
        counts["same"] += int(same.sum())
        counts["taken_down"] += int(block.taken_down.sum())
        candidates.add(_words(block, read & block.good & ~same))
    candidates.finish()
    if candidates.count:
        for block in blocks():
            read = block.decided[STATE].to_numpy() != UNCHANGED
            candidates.note("here", _words(block, block.good & (~read | _is_same(block))))
        for gone in diff.gone.blocks():
            candidates.note("gone", to_words(gone["digest"]))
        numbers = [number for number, name in enumerate(index.names) if name in embedded_in]
        candidates.note_embedded(index, np.array(numbers, np.int32))
        for kind, count in candidates.kinds().items():
            counts[kind] += count
    return counts


def _is_same(block: StandingBlock) -> Flags:
    """A changed stamp with the bytes that were there before."""
    before = pa.compute.if_else(block.decided[REASON].is_null(), block.decided[DIGEST], None)  # a reject had no embedding to keep
    same = pa.compute.equal(before, block.digests).fill_null(False).to_numpy()
    return np.asarray(same & (block.decided[STATE].to_numpy() == CHANGED), bool)


def _words(block: StandingBlock, chosen: Flags) -> Words:
    return to_words(block.digests.filter(pa.array(chosen)))


class _Candidates:
    """Digests of images that are new in their place, by numbers: how often each was read, and what else is known of it.

    Memory: that of a `DigestMap`, and 4 bytes for each item.
    """

    def __init__(self) -> None:
        self._digests = DigestMap(1)  # with the number of the first item that has it
        self.count = 0

    def add(self, words: Words) -> None:
        self._digests.add(words, np.arange(self.count, self.count + len(words), dtype=np.int32)[:, None])
        self.count += len(words)

    def finish(self) -> None:
        self._flags = {name: np.zeros(self.count, bool) for name in ("first", "here", "gone", "embedded")}

    def note(self, flag: str, words: Words) -> None:
        held, numbers = self._digests.find(words)
        self._flags[flag][numbers[held, 0]] = True

    def note_embedded(self, index: EmbeddingIndex, shards: np.ndarray) -> None:
        for words, numbers in self._digests.blocks():
            self._flags["first"][numbers[:, 0]] = True
            self._flags["embedded"][numbers[:, 0]] = np.isin(index.find(words)[0], shards)

    def kinds(self) -> dict[str, int]:
        """Of the items of one digest the first is of a kind of its own, and the others are duplicates, unless the corpus has it already."""
        first, here, gone, embedded = (self._flags[name] for name in ("first", "here", "gone", "embedded"))
        news = first & ~here
        kinds = {"new": news & embedded, "renamed": news & ~embedded & gone, "elsewhere": news & ~embedded & ~gone}
        counts = {kind: int(flags.sum()) for kind, flags in kinds.items()}
        return {**counts, "duplicate": self.count - sum(counts.values())}
