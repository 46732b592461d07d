"""Items of a listing that were taken down: passed over and counted, so that neither their keys nor their images come back.

What is known by key and stamp is not even read. A copy under another name is read and hashed; its worker finds the digest, and puts the
sha256 of the key into the receipt instead of the key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from extractor.corpus import Items, Listing
from storage.row_file import RowFile, write_rows
from storage.tombstones import TAKEN_DOWN, Tombstones, hashed


def without_taken(listing: Listing, stones: Tombstones) -> Listing:
    """The listing without what the tombstones of a set know. It hashes each key, where there are any."""
    if not stones.keys and not stones.known:
        return listing
    corpus = listing.corpus_id
    items, taken = _without(listing.items.rows, corpus, stones)
    rejects, also = _without(listing.reject_rows, corpus, stones)
    if not taken + also:
        return listing
    return replace(listing, items=Items(items), reject_rows=rejects, skipped=counted(listing.skipped, taken + also))


def counted(skipped: dict[str, int], taken: int) -> dict[str, int]:
    """Skipped names by reason, and how many more were taken down."""
    return dict(sorted((Counter(skipped) + Counter({TAKEN_DOWN: taken})).items())) if taken else skipped


def are_named(keys: pa.ChunkedArray, chosen: Sequence[bool], names: frozenset[str]) -> np.ndarray:
    """Whether each of the chosen keys is one of these, which are sha256."""
    flags = np.zeros(len(keys), bool)
    for row in np.flatnonzero(chosen) if names else ():
        flags[row] = hashed(keys[int(row)].as_py()) in names
    return flags


def _without(rows: RowFile, corpus: str, stones: Tombstones) -> tuple[RowFile, int]:
    """(the rows that stay, how many go)."""
    left = write_rows(rows.schema, _staying(rows.blocks(), corpus, stones))
    return left, len(rows) - len(left)


def _staying(blocks: Iterable[pa.Table], corpus: str, stones: Tombstones) -> Iterator[pa.Table]:
    for block in blocks:
        pairs = zip(block["key"].to_pylist(), block["stamp"].to_pylist(), strict=True)
        yield block.filter(pa.array([not stones.skips(corpus, key, stamp) for key, stamp in pairs], pa.bool_()))
