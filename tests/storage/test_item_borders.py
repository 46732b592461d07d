from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import item_borders
from storage.item_borders import in_files, key_hashes
from storage.items import write_items
from tests.storage.test_items import row, table_of

BIG = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture
def small_files() -> Iterator[None]:
    """Files of 4 to 40 rows, 12 at the mean."""
    with pytest.MonkeyPatch.context() as patch:
        for name, rows in {"MIN_ROWS": 4, "MEAN_ROWS": 12, "MAX_ROWS": 40}.items():
            patch.setattr(item_borders, name, rows)
        yield


def tables_of(keys: Sequence[str], cuts: Sequence[int] = ()) -> list[pa.Table]:
    table = pa.table({"key": pa.array(keys, pa.string())})
    borders = [0, *sorted(min(cut, len(keys)) for cut in cuts), len(keys)]
    return [table.slice(start, stop - start) for start, stop in pairwise(borders)]


def files_of(keys: Sequence[str], cuts: Sequence[int] = ()) -> list[list[str]]:
    return [table["key"].to_pylist() for table in in_files(tables_of(keys, cuts))]


def plain_hash(key: str) -> int:
    """The definition, with Python's numbers."""
    value = sum((byte + 1) * item_borders._BASE ** (i + 1) for i, byte in enumerate(key.encode())) % 2**64
    value = (value ^ value >> 32) * item_borders._MIX % 2**64
    return value ^ value >> 32


@given(keys=st.lists(BIG, max_size=30), cut=st.integers(0, 30), block=st.sampled_from([1, 7, 1 << 20]))
def test_the_hash_is_what_its_definition_says_wherever_blocks_end(keys: list[str], cut: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_borders, "BLOCK_BYTES", block)
        whole = pa.chunked_array([pa.array(keys[:cut], pa.string()), pa.array(["x", *keys[cut:]], pa.string()).slice(1)])
        assert key_hashes(whole).tolist() == [plain_hash(key) for key in keys]


def test_hashes_of_like_keys_are_spread_evenly() -> None:
    for pattern in ("{}", "photos/{:08d}.jpg", "{:08d}/image.jpg"):
        hashes = key_hashes(pa.chunked_array([pa.array([pattern.format(i) for i in range(50_000)])]))
        counts = np.bincount((hashes >> np.uint64(56)).astype(np.int64), minlength=256)
        assert ((counts - 50_000 / 256) ** 2 / (50_000 / 256)).sum() < 360  # chi squared of 255: one in 100,000 is above


@given(count=st.integers(0, 400), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_files_hold_all_rows_within_bounds_wherever_tables_end(count: int, cuts: list[int]) -> None:
    keys = sorted(f"{i:04d}" for i in range(count))
    with pytest.MonkeyPatch.context() as patch:
        for name, rows in {"MIN_ROWS": 4, "MEAN_ROWS": 12, "MAX_ROWS": 40}.items():
            patch.setattr(item_borders, name, rows)
        files = files_of(keys, cuts)
        assert [key for file in files for key in file] == keys
        assert all(4 <= len(file) <= 40 for file in files[:-1])
        assert all(1 <= len(file) <= 40 for file in files[-1:])
        assert files == files_of(keys)


@pytest.mark.usefixtures("small_files")
def test_a_local_edit_leaves_all_files_but_a_few_as_they_are() -> None:
    keys = [f"{i:05d}" for i in range(5_000)]
    before = {tuple(file) for file in files_of(keys)}
    random = np.random.default_rng(0)
    new = []
    for place in random.integers(0, len(keys), 25):
        for edited in (keys[:place] + keys[place + 1 :], [*keys[: place + 1], keys[place] + "x", *keys[place + 1 :]]):
            new.append(len({tuple(file) for file in files_of(edited)} - before))
    assert len(before) > 250
    assert np.median(new) == 1
    assert max(new) <= 8  # where an edit makes or takes a border, or a file is at its least size, the next borders move


@pytest.mark.usefixtures("small_files")
def test_from_a_common_border_on_files_are_the_same_whatever_was_before() -> None:
    keys = [f"{i:05d}" for i in range(2000)]
    whole, part = files_of(keys), files_of(keys[777:])
    meet = next(i for i, file in enumerate(part) if file in whole)
    assert part[meet:] == whole[whole.index(part[meet]) :]
    assert meet <= 4


@pytest.mark.usefixtures("small_files")
def test_files_that_an_edit_does_not_touch_keep_their_names(tmp_path: Path) -> None:
    rows = [row(f"{i:04d}", label=str(i)) for i in range(300)]
    before = write_items([table_of(rows)], tmp_path)
    relabelled = write_items([table_of([*rows[:150], {**rows[150], "label": "other"}, *rows[151:]])], tmp_path)
    assert [entry.rows for entry in relabelled] == [entry.rows for entry in before]
    assert len({*relabelled} - {*before}) == 1


def test_where_tables_end_does_not_show_in_real_files(tmp_path: Path) -> None:
    """Several pages and row groups."""
    count = 40_000
    table = table_of([row("k")]).take(pa.array(np.zeros(count, np.int64)))
    table = table.set_column(0, table.schema.field("key"), pa.array([f"{i:06d}" for i in range(count)]))
    cut = [table.slice(start, 1234) for start in range(0, count, 1234)]
    assert write_items(cut, tmp_path) == write_items([table], tmp_path)
