"""The items that are pending since a repair gave their files up, as the versions before it tell of them, and how they come back.

An item is known again by its key and digest (or stand-in), and comes back with the label, split and attributes that it had. Where its item
file is lost, too, nobody knows what it was: then each key that could have been in that file, and that the set has not, may be one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from storage.corpus_items import PLAIN_ITEMS, blocks_of_file, item_blocks, reject_blocks
from storage.errors import DamagedError, PermafrostError, UsageError
from storage.feature_set import FeatureSet
from storage.import_rows import Imported, Row
from storage.item_change import ItemChange
from storage.items import joined_items, sorted_items
from storage.manifest import CorpusState, Manifest
from storage.names import SetName
from storage.place import Place
from storage.versions import list_versions, read_manifest

NOT_PENDING = "not-pending"  # why a row of the file is passed over
Between = tuple[str | None, str | None]  # the keys before and behind a lost item file; None where there are none


@dataclass
class _Lost:
    """By the repairs of a corpus. items: those that the versions before them have, and the newest has not."""

    items: list[pa.Table] = field(default_factory=list)
    between: list[Between] = field(default_factory=list)


class PendingItems:
    """Those of a corpus in the newest version. Memory: its keys, and the pending items."""

    def __init__(self, base: FeatureSet, state: CorpusState, corpus: str) -> None:
        """state: of the corpus, of which some are pending. Raises UsageError where nobody knows what; DamagedError."""
        befores = list(_before_repairs(base.name, base.manifest, corpus))
        if not befores:
            raise UsageError(
                f"{state.pending} items of corpus {corpus!r} are pending, and no version tells any more which they are, since older ones "
                "have expired: a plain import mirrors the file, --append adds its rows to what is there"
            )
        self.corpus, folder, lost = corpus, base.name.folder, _Lost()
        here = [table["key"] for blocks in (item_blocks(state, folder), reject_blocks(state, folder)) for table in blocks]
        self._here = {key for column in here for key in column.to_pylist()}
        for before in befores:
            _note_lost(before, folder, self._here, lost)
        found = joined_items([PLAIN_ITEMS.empty_table(), *lost.items], None)
        newest_first = {key: number for number, key in reversed([*enumerate(found["key"].to_pylist())])}
        self._items, self._between = found.take(pa.array(newest_first.values(), pa.int64())), lost.between
        self._digests: dict[str, bytes] = dict(zip(newest_first, self._items["digest"].to_pylist(), strict=True))

    def chosen(self, rows: Sequence[Row | None], file: str) -> tuple[list[Row | None], int]:
        """(the rows, with None for those that cannot be pending; how many those are). Raises UsageError if none can be."""
        left = [row if row and self._may_be(row.key, row.digest) else None for row in rows]
        if not any(left):
            raise UsageError(self._none_of(file))
        return left, left.count(None) - list(rows).count(None)

    def change(self, imported: Imported) -> ItemChange:
        """The items come back where their embeddings are now. Raises UsageError if all of these are other ones."""
        table = sorted_items(imported.items_table())
        keys, digests = table["key"].to_pylist(), table["digest"].to_pylist()
        new = table.filter(pa.array([key not in self._digests for key in keys], pa.bool_()))
        again = table.filter(pa.array([self._digests.get(key) == digest for key, digest in zip(keys, digests, strict=True)], pa.bool_()))
        old = self._items.take(pc.index_in(again["key"].combine_chunks(), value_set=self._items["key"].combine_chunks()))
        for name in ("shard", "row"):
            old = old.set_column(old.schema.get_field_index(name), PLAIN_ITEMS.field(name), again[name])
        items = sorted_items(joined_items([old, new], None))
        if not items.num_rows:
            raise UsageError(self._none_of("the file"))
        return ItemChange(
            self.corpus, "", tuple(items["key"].to_pylist()), items, shards=tuple(imported.shards), are_new=True, were_pending=True
        )

    def _none_of(self, file: str) -> str:
        return (
            f"{file} has none of the pending items of corpus {self.corpus!r}, by key and digest. "
            "Where they had digests of images, give --images or a column digest; a stand-in goes by key and embedding. "
            "To put in other ones: --append"
        )

    def _may_be(self, key: str, digest: bytes | None) -> bool:
        if key in self._digests:
            return digest in (None, self._digests[key])
        return key not in self._here and any((a is None or a < key) and (b is None or key < b) for a, b in self._between)


def pending_items(base: FeatureSet, corpus: str) -> PendingItems | None:
    """None where nothing is pending. Raises UsageError for a corpus that the set has not, and as `PendingItems`."""
    state = base.manifest.corpora.get(corpus)
    if state is None:
        known = ", ".join(base.manifest.corpora)
        raise UsageError(f"{base.name.folder} has no corpus {corpus!r} of which items could be pending: --corpus-id names one of {known}")
    return PendingItems(base, state, corpus) if state.pending else None


def _before_repairs(name: SetName, newest: Manifest, corpus: str) -> Iterator[CorpusState]:
    """The corpus before each repair that made items of it pending which are so now, the latest one first."""
    after = newest
    for version in reversed([version for version in list_versions(name.folder) if version < newest.version]):
        with suppress(PermafrostError):
            before = read_manifest(name.folder, version)
            one, other = before.corpora.get(corpus), after.corpora.get(corpus)
            if one and other and after.provenance.get("operation") == "repair" and one.pending < other.pending:
                yield one
            if not one or not one.pending:
                return
            after = before


def _note_lost(before: CorpusState, folder: Place, here: Collection[str], lost: _Lost) -> None:
    """What a version has, and between which keys an item file of it is missing."""
    ends: list[tuple[str, str] | None] = []
    for entry in before.items:
        try:
            blocks = [(table["key"].to_pylist(), table) for table in blocks_of_file(entry, folder)]
        except DamagedError:
            ends.append(None)
            continue
        lost.items += [table.filter(pa.array([key not in here for key in keys], pa.bool_())) for keys, table in blocks]
        ends.append((blocks[0][0][0], blocks[-1][0][-1]))
    for number, own in enumerate(ends):
        if own is None:
            low = next((each[1] for each in reversed(ends[:number]) if each), None)
            high = next((each[0] for each in ends[number + 1 :] if each), None)
            lost.between.append((low, high))
