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


def test_types_that_do_not_go_together_are_an_error() -> None:
    sorter = RowSorter(SCHEMA, ["key"])
    sorter.add(pa.table({"key": ["a" * 100], "n": [0], "size": [1]}))
    with pytest.raises((pa.ArrowTypeError, pa.ArrowInvalid)):
        sorter.add(pa.table({"key": ["a" * 100], "n": [0], "size": ["x"]}))


def test_bytes_are_sorted_as_they_compare() -> None:
    sorter = RowSorter(pa.schema([("digest", pa.binary(2))]), ["digest"])
    for value in (b"\xff\x00", b"\x00\xff", b"\x7f\x00"):
        sorter.add(pa.table({"digest": pa.array([value], pa.binary(2))}))
    assert [row["digest"] for block in sorter.blocks() for row in block.to_pylist()] == [b"\x00\xff", b"\x7f\x00", b"\xff\x00"]
