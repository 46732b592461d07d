from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from storage.files import FileEntry
from storage.index import EmbeddingIndex, committed_index
from storage.shard import shard_format
from tests.storage.places import places_in

if TYPE_CHECKING:
    from scripts.made_set import MadeSet

MakeSet = Callable[..., "MadeSet"]
SHARDS = [FileEntry(f"shards/{name}.parquet", name, 10, 10) for name in ("s1", "s2", "s3")]
PLACES = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["s1", "s2", "s3"]), st.integers(0, 9)), max_size=20)


def table_of(places: list[tuple[int, str, int]]) -> pa.Table:
    return pa.table(
        {
            "digest": pa.array([bytes([digest]) * 32 for digest, _, _ in places], pa.binary(32)),
            "shard": pa.array([shard for _, shard, _ in places], pa.string()),
            "row": pa.array([row for _, _, row in places], pa.int32()),
        }
    )


def holds(made: MadeSet, index: EmbeddingIndex, picture: int) -> bool:
    """Whether the place that the index gives holds the picture's embedding."""
    shard, row = places_in(index)[made.digest(picture)]
    reader = shard_format(made.description.shard_format).reader(made.folder / index.shards[shard].path)
    try:
        return bool(reader.read(row, row + 1)[0].tobytes() == made.embedding(picture).tobytes())
    finally:
        reader.close()


@given(places=PLACES)
def test_the_first_place_of_a_digest_wins(places: list[tuple[int, str, int]]) -> None:
    index = EmbeddingIndex()
    index.add(table_of(places), SHARDS)
    first = {bytes([digest]) * 32: (shard, row) for digest, shard, row in reversed(places)}
    assert places_in(index) == first


@given(places=PLACES, cut=st.integers(0, 20))
def test_adding_in_parts_is_adding_at_once(places: list[tuple[int, str, int]], cut: int) -> None:
    once, parts = EmbeddingIndex(), EmbeddingIndex()
    once.add(table_of(places), SHARDS)
    parts.add(table_of(places[:cut]), SHARDS)
    parts.add(table_of(places[cut:]), ())
    assert places_in(once) == places_in(parts)


def test_shards_are_kept_by_content() -> None:
    index = EmbeddingIndex()
    entry = FileEntry("shards/s1.parquet", "s1", 10, 1)
    index.add(table_of([]), (entry,))
    index.add(table_of([]), (entry,))
    assert index.shards == {"s1": entry}


def test_a_set_without_versions_has_an_empty_index(make_set: MakeSet) -> None:
    assert places_in(committed_index(make_set().name)) == {}


def test_every_committed_picture_is_found_at_its_place(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2, "c": 1, "d": 4}, per_shard=2)
    made.commit("two", {"a": 2, "e": 5})
    index = committed_index(made.name)
    assert set(places_in(index)) == {made.digest(picture) for picture in (1, 2, 4, 5)}
    assert all(holds(made, index, picture) for picture in (1, 2, 4, 5))


def test_a_picture_that_only_an_old_version_holds_is_found(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    made.commit("one", {"b": 3})
    index = committed_index(made.name)
    assert set(places_in(index)) == {made.digest(picture) for picture in (1, 2, 3)}
    assert all(holds(made, index, picture) for picture in (1, 2, 3))


def test_the_newest_place_of_a_picture_wins(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    newest = made.commit("one", {"a": 1})
    assert places_in(committed_index(made.name))[made.digest(1)][0] == newest.shards[0].sha256


def test_every_shard_of_a_place_is_listed(make_set: MakeSet) -> None:
    made = make_set()
    for numbers in ([1, 2], [2, 3], [4]):
        made.commit("one", {str(number): number for number in numbers})
    index = committed_index(made.name)
    assert {shard for shard, _ in places_in(index).values()} <= set(index.shards)
    assert all((made.folder / entry.path).stat().st_size == entry.bytes for entry in index.shards.values())


def test_what_is_published_but_in_no_version_is_not_in_the_index(make_set: MakeSet) -> None:
    made = make_set()
    made.draft("one", {"a": 1})
    assert places_in(committed_index(made.name)) == {}


def test_rejects_are_not_in_the_index(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("one", {}, rejected=["bad"])
    assert places_in(committed_index(made.name)) == {}


def test_a_version_with_a_missing_items_file_adds_nothing_and_stops_no_other(make_set: MakeSet) -> None:
    made = make_set()
    path = made.commit("one", {"a": 1}).corpora["one"].items[0].path
    made.commit("one", {"b": 2})
    (made.folder / path).unlink()
    assert places_in(committed_index(made.name)).keys() == {made.digest(2)}
