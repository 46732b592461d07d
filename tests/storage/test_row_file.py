from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import row_file
from storage.row_file import aligned, write_rows

SCHEMA = pa.schema([("key", pa.string()), ("n", pa.int64())])
KEYS = st.lists(st.text(max_size=3), unique=True, max_size=30).map(sorted)


def table_of(keys: list[str]) -> pa.Table:
    return pa.table({"key": keys, "n": list(range(len(keys)))}, schema=SCHEMA)


def small_blocks(patch: pytest.MonkeyPatch, size: int) -> None:
    patch.setattr(row_file, "BLOCK_BYTES", size)


@given(st.lists(st.lists(st.text(max_size=3), max_size=5), max_size=6), st.integers(1, 200), st.data())
def test_rows_come_back_in_blocks_and_by_position(parts: list[list[str]], size: int, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, size)
        rows = write_rows(SCHEMA, map(table_of, parts))
    keys = [key for part in parts for key in part]
    assert len(rows) == len(keys)
    assert [key for block in rows.blocks() for key in block["key"].to_pylist()] == keys
    start = data.draw(st.integers(0, len(keys)))
    stop = data.draw(st.integers(start, len(keys)))
    assert rows.read(start, stop)["key"].to_pylist() == keys[start:stop]
    assert rows.read(start, stop).schema == SCHEMA


def test_no_rows_have_a_schema_all_the_same() -> None:
    rows = write_rows(SCHEMA, [])
    assert (len(rows), list(rows.blocks()), rows.schema) == (0, [], SCHEMA)


@given(st.lists(KEYS, min_size=1, max_size=4), st.integers(1, 100))
def test_aligned_rows_are_the_sources_cut_at_the_same_values(sources: list[list[str]], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, size)
        files = [write_rows(SCHEMA, [table_of(keys)]) for keys in sources]
    rounds = [[part["key"].to_pylist() for part in parts] for parts in aligned(files, "key")]
    for number, keys in enumerate(sources):
        assert [key for parts in rounds for key in parts[number]] == keys
    # Ranges of values follow each other, and do not overlap: what is equal in two sources comes together.
    ranges = [sorted(key for part in parts for key in part) for parts in rounds]
    assert all(each for each in ranges)
    assert all(one[-1] < other[0] for one, other in pairwise(ranges))
