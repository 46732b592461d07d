from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from storage.read_plan import ShardRead, by_shard, file_runs, in_batches, runs

Places = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
PLACES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=40).map(
    lambda pairs: (np.array([s for s, _ in pairs], np.int64), np.array([r for _, r in pairs], np.int64))
)
SIZES = st.integers(1, 50)


def positions(reads: list[ShardRead]) -> list[int]:
    return [int(position) for read in reads for position in read.positions]


def triples(reads: list[ShardRead]) -> list[tuple[int, int, int]]:
    return [(read.shard, int(row), int(position)) for read in reads for row, position in zip(read.rows, read.positions, strict=True)]


@given(places=PLACES)
def test_every_position_is_read_exactly_once(places: Places) -> None:
    assert sorted(positions(by_shard(*places))) == list(range(len(places[0])))


@given(places=PLACES)
def test_every_position_is_read_from_its_own_place(places: Places) -> None:
    shards, rows = places
    assert all(shards[position] == shard and rows[position] == row for shard, row, position in triples(by_shard(shards, rows)))


@given(places=PLACES)
def test_each_shard_is_read_once_front_to_back(places: Places) -> None:
    reads = by_shard(*places)
    assert [read.shard for read in reads] == sorted(set(places[0].tolist()))
    assert all((np.diff(read.rows) >= 0).all() for read in reads)


@given(places=PLACES)
def test_duplicates_keep_the_order_of_items(places: Places) -> None:
    assert triples(by_shard(*places)) == sorted(triples(by_shard(*places)))


@given(places=PLACES)
def test_a_span_holds_exactly_the_rows_from_first_to_last(places: Places) -> None:
    for read in by_shard(*places):
        start, stop = read.span
        assert (start, stop - 1) == (read.rows.min(), read.rows.max())


@given(places=PLACES, size=SIZES)
def test_batches_partition_the_reads_in_order(places: Places, size: int) -> None:
    reads = by_shard(*places)
    assert [triple for batch in in_batches(reads, size) for triple in triples(batch)] == triples(reads)


@given(places=PLACES, size=SIZES)
def test_every_batch_but_the_last_has_exactly_the_size(places: Places, size: int) -> None:
    sizes = [len(positions(batch)) for batch in in_batches(by_shard(*places), size)]
    whole, rest = divmod(len(places[0]), size)
    assert sizes == [size] * whole + [rest] * bool(rest)


@given(places=PLACES, size=SIZES)
def test_no_part_of_a_batch_is_empty(places: Places, size: int) -> None:
    assert all(len(read.rows) for batch in in_batches(by_shard(*places), size) for read in batch)


def test_nothing_to_read_gives_no_reads_and_no_batches() -> None:
    nothing = np.array([], np.int64)
    assert by_shard(nothing, nothing) == []
    assert list(in_batches([], 3)) == []


@given(rows=st.lists(st.integers(0, 60), max_size=30).map(sorted), gap=st.integers(0, 9))
def test_runs_are_all_rows_cut_where_more_than_a_gap_is_left_out(rows: list[int], gap: int) -> None:
    found = runs(np.array(rows, np.int64), gap)
    assert [row for start, stop in found for row in rows[start:stop]] == rows
    assert all(b - a - 1 <= gap for start, stop in found for a, b in pairwise(rows[start:stop]))
    assert all(rows[stop] - rows[stop - 1] - 1 > gap for _, stop in found[:-1])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), max_size=40).map(sorted), st.integers(1, 6))
def test_runs_in_files_cover_each_row_once_and_are_as_long_as_can_be(rows: list[tuple[int, int]], count: int) -> None:
    shards, offsets = (np.array([row[i] for row in rows], np.int64) for i in range(2))
    runs = file_runs(shards, 10 * offsets, 10)
    found = [
        (int(shard), (int(offset) // 10) + i)
        for shard, first, last, offset in zip(runs.shard, runs.first, runs.last, runs.offset, strict=True)
        for i in range(last - first)
    ]
    assert found == rows
    assert len(runs.shard) == len([1 for before, row in zip([None, *rows], rows, strict=False) if before != (row[0], row[1] - 1)])
    parts = runs.parts(count)
    assert len(parts) <= count
    assert [list(np.concatenate([getattr(part, name) for part in parts] or [[]])) for name in ("shard", "first", "last", "offset")] == [
        list(getattr(runs, name)) for name in ("shard", "first", "last", "offset")
    ]
