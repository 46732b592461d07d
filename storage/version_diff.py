"""What is different between two versions: items added, removed, changed, renamed and relabelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.digests import to_words
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from storage.files import FileEntry
from storage.items import ITEM_SCHEMA, read_in_blocks
from storage.names import EXAMPLE_VERSION
from storage.place import Place
from storage.row_file import RowFile, RowWriter, aligned

KINDS = {
    "added": "keys that are new",
    "removed": "keys that are gone",
    "changed": "keys with another image",
    "renamed": "images that have another key",
    "relabelled": "keys with their image, and another label or split",
}
_SAID = ("digest", "label", "split")
_ITEMS = pa.schema([ITEM_SCHEMA.field(name).with_nullable(True) for name in ("key", *_SAID)])
# One row a change. The old fields are null of what is added, the others of what is removed.
COLUMNS = pa.schema(
    [("change", pa.string()), ("corpus", pa.string()), *_ITEMS, *(_ITEMS.field(name).with_name(f"old_{name}") for name in _ITEMS.names)]
)


@dataclass(frozen=True)
class VersionDiff:
    """counts: of changes by kind, KINDS. changes: COLUMNS, by corpus; renamed, added and removed ones come last."""

    counts: Mapping[str, int]
    changes: RowFile


def diff_versions(old: FeatureSet, new: FeatureSet) -> VersionDiff:
    """Compare two versions by corpus and key. Item files that both list are not read. Memory: some 100 bytes for each key that came
    or went.

    Raises DamagedError, UsageError for what is no opened version.
    """
    for each in (old, new):
        if not isinstance(each, FeatureSet):
            raise UsageError(f"expected two opened versions, such as storage.open('{EXAMPLE_VERSION}'); got {each!r}")
    counts, writer = Counter(dict.fromkeys(KINDS, 0)), RowWriter(COLUMNS)
    for corpus in sorted({*old.manifest.corpora, *new.manifest.corpora}):
        for table in _changes(corpus, *_differing(old, new, corpus)):
            counts.update(table["change"].to_pylist())
            writer.append(table)
    return VersionDiff(dict(counts), writer.finish())


def _differing(old: FeatureSet, new: FeatureSet, corpus: str) -> tuple[_Items, _Items]:
    """The items of both versions without those in files that both have."""
    states = [version.manifest.corpora.get(corpus) for version in (old, new)]
    before, now = (state.items if state else () for state in states)
    same_set = old.name.folder == new.name.folder
    shared = {entry.sha256 for entry in before} & {entry.sha256 for entry in now} if same_set else set()
    return _Items(before, old.name.folder, shared), _Items(now, new.name.folder, shared)


class _Items:
    """Items of a corpus, by key."""

    schema = _ITEMS

    def __init__(self, entries: Sequence[FileEntry], folder: Place, without: set[str]) -> None:
        self._entries, self._folder = [entry for entry in entries if entry.sha256 not in without], folder

    def blocks(self) -> Iterator[pa.Table]:
        for entry in self._entries:
            yield from read_in_blocks(entry, self._folder, _ITEMS)


def _changes(corpus: str, before: _Items, now: _Items) -> Iterator[pa.Table]:
    gone, came = [_ITEMS.empty_table()], [_ITEMS.empty_table()]
    for old, new in aligned([before, now], "key"):
        at = pc.index_in(new["key"], value_set=old["key"].combine_chunks())
        here = new.filter(at.is_valid())
        there = old.take(at.drop_null())
        came.append(new.filter(at.is_null()))
        gone.append(old.filter(pc.invert(pc.is_in(old["key"], value_set=new["key"].combine_chunks()))))
        other_image, other_label, other_split = (_differ(here[name], there[name]) for name in _SAID)
        yield _table("changed", corpus, here.filter(other_image), there.filter(other_image))
        relabelled = pc.and_(pc.or_(other_label, other_split), pc.invert(other_image))
        yield _table("relabelled", corpus, here.filter(relabelled), there.filter(relabelled))
    removed, added = pa.concat_tables(gone).combine_chunks(), pa.concat_tables(came).combine_chunks()
    old_places, new_places = _pairs(removed["digest"], added["digest"])
    yield _table("renamed", corpus, added.take(new_places), removed.take(old_places))
    yield _table("added", corpus, _without(added, new_places), None)
    yield _table("removed", corpus, None, _without(removed, old_places))


def _differ(a: pa.ChunkedArray, b: pa.ChunkedArray) -> pa.ChunkedArray:
    both_null = pc.and_(a.is_null(), b.is_null())
    return pc.invert(pc.or_kleene(pc.equal(a, b), both_null).fill_null(False))


def _pairs(removed: pa.ChunkedArray, added: pa.ChunkedArray) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Positions of equal digests: the first of one with the first of the other, the second with the second."""
    n = len(removed)
    words = np.concatenate([to_words(removed), to_words(added)])
    _, groups = np.unique(words.view("V32").ravel(), return_inverse=True)
    ranks = np.concatenate([_ranks(groups[:n]), _ranks(groups[n:])])
    codes = groups * (1 + ranks.max(initial=0)) + ranks
    _, left, right = np.intersect1d(codes[:n], codes[n:], assume_unique=True, return_indices=True)
    return left, right


def _ranks(groups: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """How many of the same number stand before each one."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.searchsorted(ordered, ordered)
    ranks = np.empty_like(groups)
    ranks[order] = np.arange(len(groups)) - starts
    return ranks


def _without(table: pa.Table, positions: npt.NDArray[np.intp]) -> pa.Table:
    kept = np.ones(table.num_rows, bool)
    kept[positions] = False
    return table.filter(pa.array(kept))


def _table(change: str, corpus: str, now: pa.Table | None, before: pa.Table | None) -> pa.Table:
    rows = (now if now is not None else before).num_rows  # type: ignore[union-attr]
    nothing = [pa.nulls(rows, field.type) for field in _ITEMS]
    columns = [pa.array([change] * rows, pa.string()), pa.array([corpus] * rows, pa.string())]
    columns += now.columns if now is not None else nothing
    columns += before.columns if before is not None else nothing
    return pa.table(columns, schema=COLUMNS)
