from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import row_file, row_sorter
from storage.row_sorter import RowSorter

SCHEMA = pa.schema([("key", pa.string()), ("n", pa.int64())])
PARTS = st.lists(st.lists(st.text("abc", max_size=2), max_size=6), max_size=8)


@pytest.fixture(autouse=True, scope="module")
def little_memory() -> Iterator[None]:
    """So that a few rows take several files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_sorter, "RUN_BYTES", 100)
        patch.setattr(row_file, "BLOCK_BYTES", 40)
        yield


def tables_of(parts: list[list[str]]) -> list[pa.Table]:
    """Rows numbered in the order they come."""
    numbers = iter(range(1000))
    return [pa.table({"key": part, "n": [next(numbers) for _ in part]}, schema=SCHEMA) for part in parts]


def rows_of(sorter: RowSorter) -> list[tuple[str, int]]:
    return [(row["key"], row["n"]) for block in sorter.blocks() for row in block.to_pylist()]


@given(PARTS)
def test_rows_are_sorted_and_of_equal_ones_the_first_comes_first(parts: list[list[str]]) -> None:
    sorter = RowSorter(SCHEMA, ["key", "n"])
    for table in tables_of(parts):
        sorter.add(table)
    rows = rows_of(sorter)
    added = [(row["key"], row["n"]) for table in tables_of(parts) for row in table.to_pylist()]
    assert sorted(rows) == sorted(added)
    assert len(sorter) == len(added)
    assert [key for key, _ in rows] == sorted(key for key, _ in added)
    first = dict(reversed(added))
    assert all(n == first[key] for i, (key, n) in enumerate(rows) if i == 0 or rows[i - 1][0] != key)


@given(PARTS, PARTS)
def test_of_equal_keys_the_last_one_stays_also_when_more_come_after_reading(parts: list[list[str]], more: list[list[str]]) -> None:
    sorter = RowSorter(SCHEMA, ["key"], last_only=True)
    tables = tables_of(parts + more)
    for n in (len(parts), len(tables)):
        for table in tables[len(parts) if n > len(parts) else 0 : n]:
            sorter.add(table)
        expected = {row["key"]: row["n"] for table in tables[:n] for row in table.to_pylist()}
        assert rows_of(sorter) == sorted(expected.items())


def test_further_columns_are_null_where_a_row_has_none_and_types_are_promoted() -> None:
    sorter = RowSorter(SCHEMA, ["key"])
    for i, further in enumerate([{}, {"size": pa.array([1], pa.int32())}, {"size": pa.array([2.5])}, {"colour": ["red"]}]):
        table = pa.table({"key": [f"{9 - i}" * 40], "n": [i]}, schema=SCHEMA)
        for name, column in further.items():
            table = table.append_column(name, pa.array(column))
        sorter.add(table)
    blocks = list(sorter.blocks())
    assert len(blocks) > 1
    assert all(one.schema == other.schema for one, other in pairwise(blocks))
    assert [(row["size"], row["colour"]) for block in blocks for row in block.to_pylist()] == [
        (None, "red"),
        (2.5, None),
        (1.0, None),
        (None, None),
    ]


@pytest.mark.parametrize("further", [[pa.int32(), pa.int64(), None], [pa.float64(), pa.int32()], [pa.int64(), None, pa.int32()]])
def test_rows_with_fewer_columns_or_narrower_types_may_come_after_those_with_more(further: list[pa.DataType | None]) -> None:
    sorter = RowSorter(SCHEMA, ["key"])
    for i, kind in enumerate(further):
        table = pa.table({"key": [f"{i}{j:02d}" for j in range(20)], "n": range(20)}, schema=SCHEMA)
        sorter.add(table.append_column("size", pa.array([i] * 20, kind)) if kind else table)
    sizes = [row["size"] for block in sorter.blocks() for row in block.to_pylist()]
    assert sizes == [None if kind is None else i for i, kind in enumerate(further) for _ in range(20)]


@pytest.mark.parametrize(
    ("columns", "read"),
    [
        ([pa.array([7]), pa.array(["x"]), pa.array([1.5])], ["7", "x", "1.5"]),
        ([pa.array([7]), pa.array([1.5]), pa.array([2], pa.int32())], [7.0, 1.5, 2.0]),
        ([pa.array([2**53 + 1]), pa.array([1.5])], ["9007199254740993", "1.5"]),
        ([pa.array([-1]), pa.array([2**63], pa.uint64())], ["-1", "9223372036854775808"]),
        ([pa.array([True, None]), pa.array([0])], ["true", None, "0"]),
        ([pa.array([1], pa.timestamp("ns")), pa.array(["x"])], ["1970-01-01 00:00:00.000000001", "x"]),
        ([pa.nulls(1), pa.array(["x"]).dictionary_encode(), pa.array(["y"])], [None, "x", "y"]),
        ([pa.array(["x"], pa.large_string()), pa.array(["y"])], ["x", "y"]),
    ],
)
@pytest.mark.parametrize("rows", [1, 20])
@pytest.mark.parametrize("backwards", [False, True])
def test_types_that_do_not_go_together_become_one_in_any_order(
    columns: list[pa.Array], read: list[object], rows: int, backwards: bool
) -> None:
    """rows: of each table; 20 are a file of their own."""
    sorter = RowSorter(SCHEMA, ["key"])
    for i, column in reversed(list(enumerate(columns))) if backwards else enumerate(columns):
        whole = pa.chunked_array([column] * rows)
        keys = [f"{i}{j:02d}" for j in range(len(whole))]
        sorter.add(pa.table({"key": keys, "n": range(len(keys))}, schema=SCHEMA).append_column("size", whole))
    blocks = list(sorter.blocks())
    assert all(one.schema == other.schema for one, other in pairwise(blocks))
    repeated = [cell for block in blocks for cell in block["size"].to_pylist()]
    assert sorted(repeated, key=str) == sorted(read * rows, key=str)


def test_bytes_are_sorted_as_they_compare() -> None:
    sorter = RowSorter(pa.schema([("digest", pa.binary(2))]), ["digest"])
    for value in (b"\xff\x00", b"\x00\xff", b"\x7f\x00"):
        sorter.add(pa.table({"digest": pa.array([value], pa.binary(2))}))
    assert [row["digest"] for block in sorter.blocks() for row in block.to_pylist()] == [b"\x00\xff", b"\x7f\x00", b"\xff\x00"]
