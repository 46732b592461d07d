"""What an index holds, as tests compare it."""

from __future__ import annotations

from storage.digests import from_words
from storage.index import EmbeddingIndex


def places_in(index: EmbeddingIndex) -> dict[bytes, tuple[str, int]]:
    """(sha256 of the shard, row of view 0) by digest."""
    found = {}
    for words in index.digests():
        numbers, rows = index.find(words)
        for digest, number, row in zip(from_words(words).to_pylist(), numbers, rows, strict=True):
            found[digest] = (index.names[number], int(row))
    return found
