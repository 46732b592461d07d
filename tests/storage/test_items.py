from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.made_set import MadeSet
from storage.disk import sha256_file
from storage.draft import Settled, write_state
from storage.errors import DamagedError
from storage.files import FileEntry
from storage.items import ITEM_SCHEMA, REJECT_SCHEMA, read_items, read_tables, sorted_items, write_items, write_table

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ROWS = st.fixed_dictionaries(
    {
        "key": KEYS,
        "corpus": st.sampled_from(["a", "b", "ü"]),
        "digest": st.binary(min_size=32, max_size=32),
        "stamp": st.text("0123456789-", max_size=5),
        "shard": st.sampled_from(["1" * 64, "2" * 64, "3" * 64]),
        "row": st.integers(0, 2**31 - 1),
        "label": st.none() | KEYS,
        "split": st.none() | st.sampled_from(["train", "test"]),
    }
)


def row(key: str, corpus: str = "a", **changes: Any) -> dict[str, Any]:
    plain = {"key": key, "corpus": corpus, "digest": bytes(32), "stamp": "s", "shard": "1" * 64, "row": 0, "label": None, "split": None}
    return {**plain, **changes}


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    plain = [pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type) for f in ITEM_SCHEMA]
    return pa.Table.from_pylist(rows, pa.schema(plain))


def sort_key(item: dict[str, Any]) -> tuple[bytes, bytes]:
    return item["corpus"].encode(), item["key"].encode()


@pytest.mark.slow
@given(rows=st.lists(ROWS, max_size=12, unique_by=lambda item: (item["corpus"], item["key"])))
def test_items_come_back_sorted_by_corpus_and_key(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.item_borders.MIN_ROWS", 2)
        patch.setattr("storage.item_borders.MEAN_ROWS", 4)
        patch.setattr("storage.item_borders.MAX_ROWS", 5)
        patch.setattr("storage.items.ROWS_PER_GROUP", 2)
        entries = write_items([sorted_items(table_of(rows))], Path(folder))
        again = read_tables(entries, Path(folder), ITEM_SCHEMA)
    assert again.schema.equals(ITEM_SCHEMA)
    assert again.to_pylist() == sorted(rows, key=sort_key)
    assert all(2 <= entry.rows <= 5 for entry in entries[:-1])


def test_item_files_do_not_depend_on_the_order_of_items(tmp_path: Path) -> None:
    rows = [row(str(i)) for i in range(20)]
    assert write_items([sorted_items(table_of(rows))], tmp_path) == write_items([sorted_items(table_of(rows[::-1]))], tmp_path)


def test_an_entry_says_what_the_file_is(tmp_path: Path) -> None:
    [entry] = write_items([sorted_items(table_of([row("k"), row("l")]))], tmp_path)
    path = tmp_path / entry.path
    assert entry == FileEntry(f"items/{sha256_file(path)}.parquet", sha256_file(path), path.stat().st_size, 2)


def test_a_file_that_is_listed_is_not_published_again(tmp_path: Path) -> None:
    entries = write_items([sorted_items(table_of([row("k")]))], tmp_path)
    (tmp_path / entries[0].path).unlink()
    assert write_items([sorted_items(table_of([row("k")]))], tmp_path, {entries[0].sha256}) == entries
    assert not list(tmp_path.rglob("*.parquet"))
    assert write_items([sorted_items(table_of([row("k")]))], tmp_path, {"0" * 64}) == entries
    assert (tmp_path / entries[0].path).exists()


def test_the_next_version_publishes_only_what_is_new(make_set: Callable[..., MadeSet]) -> None:
    made = make_set()
    base = made.commit("one", {"a": 1, "b": 2})
    [entry] = base.corpora["one"].items
    inode = (made.folder / entry.path).stat().st_ino
    settled = Settled("one", "/images/one", 2, [made.open().items], [])
    assert write_state(settled, made.name, base).items == (entry,)
    assert (made.folder / entry.path).stat().st_ino == inode
    write_state(settled, made.name)
    assert (made.folder / entry.path).stat().st_ino != inode


def test_no_items_make_no_file(tmp_path: Path) -> None:
    assert write_items([sorted_items(table_of([]))], tmp_path) == ()
    assert read_tables([], tmp_path, ITEM_SCHEMA).num_rows == 0
    assert read_tables([], tmp_path, ITEM_SCHEMA).schema.equals(ITEM_SCHEMA)


def test_dictionaries_of_several_files_become_one(tmp_path: Path) -> None:
    entries = [
        *write_items([sorted_items(table_of([row("a", shard="1" * 64)]))], tmp_path),
        *write_items([sorted_items(table_of([row("b", shard="2" * 64)]))], tmp_path),
    ]
    shards = read_tables(entries, tmp_path, ITEM_SCHEMA)["shard"].combine_chunks()
    assert shards.dictionary.to_pylist() == ["1" * 64, "2" * 64]
    assert shards.to_pylist() == ["1" * 64, "2" * 64]


@pytest.mark.parametrize("column", ["key", "digest", "shard", "row"])
def test_an_item_without_a_place_or_name_is_not_written(tmp_path: Path, column: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (Arrow's words)
        write_items([sorted_items(table_of([row("k") | {column: None}]))], tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))


def test_rejects_come_back(tmp_path: Path) -> None:
    rows = [
        {"key": "k", "corpus": "a", "digest": None, "stamp": "s", "reason": "unreadable", "message": "gone"},
        {"key": "l", "corpus": "a", "digest": bytes(32), "stamp": "s", "reason": "too-large", "message": "9 GB"},
    ]
    entry = write_table(pa.Table.from_pylist(rows, REJECT_SCHEMA), tmp_path, "rejects")
    assert entry.path.startswith("rejects/")
    assert read_tables([entry], tmp_path, REJECT_SCHEMA).to_pylist() == rows


def test_a_missing_file_is_damage_and_named(tmp_path: Path) -> None:
    [entry] = write_items([sorted_items(table_of([row("k")]))], tmp_path)
    (tmp_path / entry.path).unlink()
    with pytest.raises(DamagedError, match=rf"{entry.path} is listed but is not there"):
        read_tables([entry], tmp_path, ITEM_SCHEMA)


def test_a_truncated_file_is_damage_and_named_with_both_sizes(tmp_path: Path) -> None:
    [entry] = write_items([sorted_items(table_of([row("k")]))], tmp_path)
    path = tmp_path / entry.path
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DamagedError, match=rf"{entry.path} has {entry.bytes - 5} bytes, the manifest says {entry.bytes}"):
        read_tables([entry], tmp_path, ITEM_SCHEMA)


def listed(path: Path) -> FileEntry:
    """An entry whose size and sha256 are right, whatever the file holds."""
    return FileEntry(path.name, sha256_file(path), path.stat().st_size, 1)


def test_garbage_of_the_right_size_is_damage_and_named(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"\0" * 500)
    with pytest.raises(DamagedError, match=r"bad\.parquet is damaged \(ArrowInvalid: "):
        read_tables([listed(tmp_path / "bad.parquet")], tmp_path, ITEM_SCHEMA)


@pytest.mark.parametrize("part", ["page header", "footer"])
def test_flipped_bytes_of_the_right_size_are_damage_and_named(tmp_path: Path, part: str) -> None:
    pq.write_table(table_of([row("k")]), tmp_path / "bad.parquet", compression="zstd")
    data = bytearray((tmp_path / "bad.parquet").read_bytes())
    place = 4 if part == "page header" else len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[place : place + 20] = b"\xff" * 20
    (tmp_path / "bad.parquet").write_bytes(data)
    with pytest.raises(DamagedError, match=r"bad\.parquet"):
        read_tables([listed(tmp_path / "bad.parquet")], tmp_path, ITEM_SCHEMA)


@pytest.mark.parametrize("column", ITEM_SCHEMA.names)
def test_a_file_without_a_column_is_damage_and_named(tmp_path: Path, column: str) -> None:
    pq.write_table(table_of([row("k")]).drop_columns([column]), tmp_path / "bad.parquet")
    with pytest.raises(DamagedError, match=rf"bad\.parquet.*{column}"):
        read_tables([listed(tmp_path / "bad.parquet")], tmp_path, ITEM_SCHEMA)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("row", pa.array(["seven"])),
        ("row", pa.array([[1]])),
        ("digest", pa.array([b"short"], pa.binary(5))),
        ("digest", pa.array([b"short"])),
        ("digest", pa.array([7])),
        ("label", pa.array([[1]])),
        ("key", pa.array([None], pa.string())),
    ],
    ids=["row text", "row list", "digest width", "digest short", "digest number", "label list", "key null"],
)
def test_a_column_of_another_type_is_damage_and_named(tmp_path: Path, column: str, values: pa.Array) -> None:
    table = table_of([row("k")])
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, values), tmp_path / "bad.parquet")
    with pytest.raises(DamagedError, match=r"bad\.parquet"):
        read_tables([listed(tmp_path / "bad.parquet")], tmp_path, ITEM_SCHEMA)


def with_attributes(table: pa.Table, **attributes: pa.Array) -> pa.Table:
    for name, values in attributes.items():
        table = table.append_column(name, values)
    return table


def test_attributes_are_kept_with_their_types_and_merged_over_files(make_set: Callable[..., MadeSet]) -> None:
    made = make_set()
    one = with_attributes(made.items_table("one", {"a": 1, "b": 2}, {1: ("s", 0), 2: ("s", 1)}), price=pa.array([3, 4], pa.int64()))
    two = with_attributes(made.items_table("two", {"a": 1}, {1: ("s", 0)}), colour=pa.array(["red"]), price=pa.array([1.5]))
    entries = [*write_items([sorted_items(one)], made.folder), *write_items([sorted_items(two)], made.folder)]
    read = read_items(entries, made.folder)
    assert read.column_names == [*ITEM_SCHEMA.names, "price", "colour"]
    assert read["price"].to_pylist() == [3, 4, 1.5]
    assert read["colour"].to_pylist() == [None, None, "red"]
    assert read_items(entries[:1], made.folder)["price"].type == pa.int64()


def test_attributes_of_types_that_do_not_go_together_come_as_text(make_set: Callable[..., MadeSet]) -> None:
    made = make_set()
    one = with_attributes(
        made.items_table("one", {"a": 1}, {1: ("s", 0)}), tags=pa.array([["x", "y"]]), n=pa.array([2**53 + 1]), m=pa.array([1])
    )
    two = with_attributes(made.items_table("two", {"a": 1}, {1: ("s", 0)}), tags=pa.array([7]), n=pa.array([1.5]), m=pa.array([1.5]))
    entries = [*write_items([sorted_items(one)], made.folder), *write_items([sorted_items(two)], made.folder)]
    read = read_items(entries, made.folder)
    assert read["tags"].to_pylist() == ["x|y", "7"]
    assert read["n"].to_pylist() == ["9007199254740993", "1.5"]  # a float is no room for the first
    assert read["m"].to_pylist() == [1.0, 1.5]
