"""A change of some items of a corpus, by key, and the rule by which it goes on top of what other writers have done meanwhile.

The rule is a merge of three states of each key: as it was in the version that the change was computed from, as the newest version has it,
and as the change would have it. Where the newest has it as it was, the change is made; where it is so already, there is nothing to do; and
anything else is a conflict. So changes of different keys commute, whatever they are, and of two equal ones the second finds its work done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile

import pyarrow as pa

from storage.commit import commit_next
from storage.corpus_items import PLAIN_ITEMS, Seen, item_blocks, reject_blocks, seen_in, seen_keys, with_keys, without_keys
from storage.draft import Settled, make_draft, write_state
from storage.errors import AlreadyExistsError, ConflictError, NotFoundError
from storage.files import FileEntry
from storage.items import REJECT_SCHEMA
from storage.manifest import CorpusState, Manifest, succeed
from storage.more import and_more, nor_more
from storage.names import SetName
from storage.row_sorter import RowSorter
from storage.stored_rows import StoredRows

_THEN = "; then "  # between the two sources of a corpus
Same = Callable[[str, Seen | None, Seen | None], bool]  # of a key


@dataclass(frozen=True)
class ItemChange:
    """keys: all that the change is about. Those without an item or reject here are to go."""

    corpus: str
    source: str  # of a corpus that is not there yet
    keys: tuple[str, ...]
    items: pa.Table = field(default_factory=PLAIN_ITEMS.empty_table)  # and attributes
    rejects: pa.Table = field(default_factory=REJECT_SCHEMA.empty_table)
    shards: tuple[FileEntry, ...] = ()  # new ones that the items point at
    are_new: bool = False  # whether no key may be there yet; else each must be
    were_pending: bool = False  # whether the corpus counts the new items already
    staying: tuple[str, ...] = ()  # further keys that must be there, and of which nothing can be changed

    @property
    def wanted(self) -> dict[str, Seen]:
        return seen_in(self.rejects) | seen_in(self.items)


def keys_to_change(
    change: ItemChange, base: Mapping[str, Seen], latest: Mapping[str, Seen], same: Same, at: str | None = None
) -> list[str]:
    """The keys of which the newest version is still to be changed. at: the version that the change was asked of, None for the newest.

    Raises ConflictError. Pure.
    """
    wanted = change.wanted
    left = [key for key in change.keys if not same(key, latest.get(key), wanted.get(key))]
    moved = [key for key in left if not same(key, latest.get(key), base.get(key))]
    if moved:
        if at:
            raise ConflictError(
                f"a version after '@{at}' has changed {moved[0]!r}{and_more(moved)} of corpus {change.corpus!r}. Nothing was committed: "
                f"leave out '@{at}' to change what the newest version has"
            )
        raise ConflictError(
            f"another writer has changed {moved[0]!r}{and_more(moved)} of corpus {change.corpus!r} since the version that this was "
            "computed from. Nothing was committed: look at the newest version, and run it again if it is still meant"
        )
    return left


def commit_change(
    name: SetName, base: Manifest | None, change: ItemChange, golden: FileEntry, space_id: str, provenance: Mapping[str, object]
) -> tuple[Manifest, bool]:
    """(The version that holds the change, on top of whatever other writers did; whether it is a new one, or had all of it already.)

    base: the version that the change was computed from. golden: of a set that has no version yet. Memory: the changed items.
    Raises AlreadyExistsError or NotFoundError (the keys are not as `change.are_new` says), ConflictError, DamagedError.
    """
    keys = pa.array([*change.keys, *change.staying], pa.string())
    before = seen_keys(base.corpora.get(change.corpus) if base else None, name.folder, keys)
    with StoredRows(name, [*(base.shards if base else ()), *change.shards]) as rows:
        _require_sense(name, change, before, _comparison(rows))

    is_new = False

    def make(latest: Manifest | None) -> Manifest:
        nonlocal is_new
        state = latest.corpora.get(change.corpus) if latest else None
        now = before if latest is base else seen_keys(state, name.folder, keys)
        known = [*(base.shards if base else ()), *(latest.shards if latest else ()), *change.shards]
        with StoredRows(name, known) as rows:
            same = _comparison(rows)
            left = keys_to_change(change, before, now, same, name.at)
            is_new = latest is None or bool(left)
            if latest and not left:
                return latest
            moved = _moved(change, before, now, same)
        after = _rewritten(name, latest, replace(change, items=moved), left)
        return succeed(latest, make_draft({change.corpus: after}, known, golden, space_id, provenance))

    return commit_next(name, make), is_new


def _require_sense(name: SetName, change: ItemChange, before: Mapping[str, Seen], same: Same) -> None:
    """What is wrong whoever else is at work."""
    if not change.are_new and (missing := [key for key in (*change.keys, *change.staying) if key not in before]):
        raise NotFoundError(f"{name.folder} has no {missing[0]!r} in corpus {change.corpus!r}{nor_more(missing)}")
    if not change.are_new:
        return
    wanted = change.wanted
    there = [key for key in change.keys if key in before and before[key].place and not same(key, before[key], wanted.get(key))]
    if there:
        raise AlreadyExistsError(
            f"{name.folder} has {there[0]!r}{and_more(there)} in corpus {change.corpus!r} already, with another image, embedding, label or "
            "attribute: replace them, or leave them out"
        )


def _comparison(rows: StoredRows) -> Same:
    """Whether two versions mean the same by a key. An image may have two embeddings, and one that stands elsewhere now may have been
    compacted: their bytes are compared."""

    def same(key: str, one: Seen | None, other: Seen | None) -> bool:
        if one is None or other is None or one.said != other.said or (one.place is None) != (other.place is None):
            return one is other
        if one.place is None or other.place is None or one.place == other.place:
            return True
        return rows.read(one.place) == rows.read(other.place)

    return same


def _moved(change: ItemChange, before: Mapping[str, Seen], now: Mapping[str, Seen], same: Same) -> pa.Table:
    """The items, pointing at where an embedding that they had before is now: it may have been compacted meanwhile."""
    places = []
    for row in change.items.select(["key", "shard", "row"]).to_pylist():
        old, new, place = before.get(row["key"]), now.get(row["key"]), (row["shard"], row["row"])
        if old and new and new.place and old.place == place and same(row["key"], old, new):
            place = new.place
        places.append(place)
    shards, rows = pa.array([p[0] for p in places], pa.string()), pa.array([p[1] for p in places], pa.int32())
    table = change.items
    for name, column in (("shard", shards), ("row", rows)):
        table = table.set_column(table.schema.get_field_index(name), PLAIN_ITEMS.field(name), column)
    return table


def _source(first: str, latest: str) -> str:
    """Where a corpus is from, and where the latest change of it is from that tells."""
    first = first.partition(_THEN)[0]
    return f"{first}{_THEN}{latest}" if latest not in ("", first) else first


def all_sources(told: Iterable[str]) -> list[str]:
    """Where a corpus is from in all, oldest first: what it was made of last, and what was put into it since.

    told: the source that each version tells of, newest version first.
    """
    parts = [source.partition(_THEN) for source in told]
    since = takewhile(lambda part: part[0] == parts[0][0], parts)
    return [*dict.fromkeys([*(part[0] for part in parts[:1]), *reversed([part[2] for part in since])])]


def _rewritten(name: SetName, latest: Manifest | None, change: ItemChange, left: list[str]) -> CorpusState:
    """The corpus as the newest version has it, with those keys changed; of all other items and rejects nothing is."""
    state = latest.corpora.get(change.corpus) if latest else None
    keys = pa.array(left, pa.string())
    items, rejects = RowSorter(PLAIN_ITEMS, ["key"]), RowSorter(REJECT_SCHEMA, ["key", "reason", "message"])
    for block in item_blocks(state, name.folder):
        items.add(without_keys(block, keys))
    for block in reject_blocks(state, name.folder):
        rejects.add(without_keys(block, keys))
    gone = (state.rows + state.rejected if state else 0) - len(items) - len(rejects)
    new_items, new_rejects = with_keys(change.items, keys), with_keys(change.rejects, keys)
    items.add(new_items)
    rejects.add(new_rejects)
    pending = state.pending if state else 0
    back = min(pending, new_items.num_rows) if change.were_pending else 0
    settled = Settled(
        change.corpus,
        _source(state.source, change.source) if state else change.source,
        (state.listed if state else 0) - gone + new_items.num_rows + new_rejects.num_rows - back,
        items.blocks(),
        rejects.blocks(),
        pending - back,
        state.skipped if state else {},
    )
    return write_state(settled, name, latest)
