"""Tables that users bring: what is read, and what is said of one that cannot be."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import NotFoundError, UsageError
from storage.table_file import cell_text, is_table_file, label_text, read_table_file, tables_of


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    return list(read_table_file(path, "list").to_pylist())


def test_a_csv_is_text_throughout_and_an_empty_cell_is_null(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", '\ufeffpath,sku,price\na.jpg,007,\n"b,1.jpg","two\nlines",1.50\n\n')
    assert rows(path) == [{"path": "a.jpg", "sku": "007", "price": None}, {"path": "b,1.jpg", "sku": "two\nlines", "price": "1.50"}]


def test_jsonl_keeps_types_and_fills_what_is_absent(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"path": "a", "n": 1, "day": "2020-01-01"}\n\n{"path": "b", "tags": ["x"]}\r\n')
    assert rows(path) == [{"path": "a", "n": 1, "day": "2020-01-01", "tags": None}, {"path": "b", "n": None, "day": None, "tags": ["x"]}]


def test_jsonl_columns_of_several_kinds_become_text(tmp_path: Path) -> None:
    path = written(tmp_path, "a.ndjson", '{"x": 1}\n{"x": "one"}\n{"x": {"y": [2]}}\n{"x": null}\n')
    assert [row["x"] for row in rows(path)] == ["1", "one", '{"y": [2]}', None]


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (["hat", ["hat", "coat"], None], [["hat"], ["hat", "coat"], None]),
        ([["hat", 3], ["coat", 3.0, None]], [["hat", "3"], ["coat", "3"]]),
        ([3, 3.0, "x"], ["3", "3", "x"]),
        ([float("nan"), "x", True], [None, "x", "true"]),
    ],
)
def test_jsonl_columns_of_several_kinds_mean_what_they_mean_alone(tmp_path: Path, values: list[Any], read: list[Any]) -> None:
    path = written(tmp_path, "a.jsonl", "".join(json.dumps({"x": value}) + "\n" for value in values))
    assert [row["x"] for row in rows(path)] == read


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_csv_with_another_separator_is_told(tmp_path: Path, mark: str) -> None:
    path = written(tmp_path, "a.csv", f"path{mark}label\na.jpg{mark}hat\n")
    with pytest.raises(UsageError, match="between its columns; expected commas"):
        read_table_file(path, "list")


def test_the_index_of_pandas_and_spaces_around_names_are_no_columns(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", ',path, label ,note\n0,a.jpg, hat,"x, y"\n  \n1,b.jpg, coat,z\n')
    assert rows(path) == [{"path": "a.jpg", "label": "hat", "note": "x, y"}, {"path": "b.jpg", "label": "coat", "note": "z"}]


def test_a_table_with_a_column_twice_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table([["a"], ["b"]], names=["path", "path"]), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="two columns of one name"):
        read_table_file(tmp_path / "a.parquet", "list")


def test_an_empty_list_is_a_label_and_an_empty_text_is_none() -> None:
    assert [label_text(value) for value in ([], ["a"], ["a", "b"], "", None)] == ["|", "a", "a|b", None, None]


def test_parquet_keeps_types_and_drops_the_index_of_pandas(tmp_path: Path) -> None:
    table = pa.table({"path": ["a"], "n": pa.array([1], pa.int16()), "__index_level_0__": [5]})
    pq.write_table(table, tmp_path / "a.parquet")
    read = read_table_file(tmp_path / "a.parquet", "list")
    assert read.column_names == ["path", "n"]
    assert read.schema.field("n").type == pa.int16()


@given(table=st.lists(st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)] * 2), min_size=1))
def test_whatever_the_csv_writer_wrote_comes_back(table: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "other"), *table])
    assert [(row["path"], row["other"]) for row in rows(path)] == table


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "", r"should end in \.csv, \.jsonl or \.parquet"),
        ("a.csv", "", "is empty"),
        ("a.csv", "path,path\na,b\n", "a column name twice"),
        ("a.csv", "path,label\na\n", "1 cells in line 2, its header 2"),
        ("a.csv", "path,label\na,b\nc\nd,e\n", "1 cells in line 3, its header 2"),
        ("a.csv", 'path\n"a\n', r"not a readable CSV: unexpected end of data \(an unclosed quote\?\)"),
        ("a.csv", f"path,text\na,{'x' * 131_073}\n", "a cell of more than 131072 characters .*JSONL and Parquet take texts of any length"),
        ("a.csv", b"path\n\xff\xfe\n", "not UTF-8 text: .* at byte 5"),
        ("a.jsonl", "\n", "is empty"),
        ("a.jsonl", '{"path": "a"}\n{"path"', "no JSON object in line 2"),
        ("a.jsonl", "[1]\n", "a list in line 1"),
        ("a.jsonl", '{"path": "\\ud800"}\n', "half a character .* in line 1"),
        ("a.jsonl", "[" * 100_000, "no JSON object in line 1"),
        ("a.parquet", "no parquet", "not a readable Parquet file"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_table_file(written(tmp_path, name, content), "list")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_missing_table_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match="no such label file"):
        read_table_file(tmp_path / name, "label file")


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ([1, 2, 3, 4.5], [1.0, 2.0, 3.0, 4.5]),
        ([1, 2, 3, "x"], ["1", "2", "3", "x"]),
        ([2**53 + 1, 2, 3, 4.5], ["9007199254740993", "2", "3", "4.5"]),
        (["x", None, ["y"], 2], [["x"], None, ["y"], ["2"]]),
        ([None, None, None, {"a": 1}], [None, None, None, {"a": 1}]),
    ],
)
def test_the_kind_of_a_column_is_that_of_all_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[Any], read: list[Any]
) -> None:
    monkeypatch.setattr("storage.table_file.READ_ROWS", 2)
    content = "".join(json.dumps({"path": str(i), "value": value}) + "\n" for i, value in enumerate(values))
    tables = list(tables_of(written(tmp_path, "a.jsonl", content), "list"))
    assert [cell for table in tables for cell in table["value"].to_pylist()] == read
    assert len({table.schema for table in tables}) == 1
    assert len(tables) == 2


def test_cells_as_text() -> None:
    values = ["a", "", None, 3, True, False, 1.5, 3.0, float("nan"), ["x", "y"], [], [1, None]]
    assert [cell_text(cell) for cell in values] == ["a", None, None, "3", "true", "false", "1.5", "3", None, "x|y", "", "1"]


def test_endings_are_recognised_in_any_case() -> None:
    assert [is_table_file(Path(name)) for name in ("a.CSV", "b.NDJson", "c.pq", "d.json", "csv")] == [True, True, True, False, False]


def test_json_lines_written_by_json_come_back(tmp_path: Path) -> None:
    line = {"path": "日本/é.jpg", "label": "x"}
    assert rows(written(tmp_path, "a.jsonl", json.dumps(line))) == [line]
