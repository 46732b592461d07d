"""Items that stand where they stood, with the image that they had, and have another label or split than in the version before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from extractor.diff import DIGEST, match
from extractor.standing import Standing
from storage.feature_set import FeatureSet
from storage.items import ITEM_SCHEMA, read_in_blocks
from storage.row_file import aligned

_SAID = ("label", "split")
_COLUMNS = pa.schema([ITEM_SCHEMA.field(name) for name in ("key", "digest", *_SAID)])


def count_relabelled(base: FeatureSet | None, standing: Standing) -> int:
    """base: the version before. What the listing says beside label and split is not compared."""
    if base is None:
        return 0
    count = 0
    for before, now in aligned([_Before(base, standing.corpus), standing.rows_file], "key"):
        at = match(now["key"], before["key"])
        now, before = now.filter(pa.array(at >= 0)), before.take(pa.array(at[at >= 0]))
        same_image = pc.equal(now[DIGEST], before["digest"]).to_numpy()
        other = np.logical_or.reduce([_differ(now[name], before[name]) for name in _SAID])
        count += int((same_image & other).sum())
    return count


def _differ(a: pa.ChunkedArray, b: pa.ChunkedArray) -> np.ndarray:
    equal = pc.or_kleene(pc.equal(a, b), pc.and_(a.is_null(), b.is_null()))
    return np.asarray(~equal.fill_null(False).to_numpy(), bool)


class _Before:
    """The items of a corpus in a version, by key."""

    schema = _COLUMNS

    def __init__(self, base: FeatureSet, corpus: str) -> None:
        self._folder, self._state = base.name.folder, base.manifest.corpora.get(corpus)

    def blocks(self) -> Iterator[pa.Table]:
        for entry in self._state.items if self._state else ():
            yield from read_in_blocks(entry, self._folder, _COLUMNS)
