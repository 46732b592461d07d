"""Tables that users bring (CSV, JSONL, Parquet: lists of images, label sets) as Arrow tables. Errors name the file and the line."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import NotFoundError, UsageError

SEPARATOR = "|"  # between the labels in one text
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_CSV, _JSONL, _PARQUET = (".csv",), (".jsonl", ".ndjson"), (".parquet", ".pq")


def is_table_file(path: Path) -> bool:
    """Whether the name says that this is a table this module reads."""
    return path.suffix.lower() in (*_CSV, *_JSONL, *_PARQUET)


def read_table_file(path: Path, what: str) -> pa.Table:
    """Read a whole table; `what` names it in errors, e.g. "label file".

    CSV: UTF-8 with a header line; every column is text, because CSV has no types (an article number 007 stays one); an empty cell is
    null. JSONL: one object a line; a column whose values are of several kinds becomes text, or lists of texts if some are lists.
    Parquet: types as they are. Raises NotFoundError, or UsageError for another ending or unreadable content.
    """
    suffix = path.suffix.lower()
    if not is_table_file(path):
        raise UsageError(f"the {what} {path} should end in .csv, .jsonl or .parquet, which says how to read it")
    data = _read(path, what)
    if suffix in _PARQUET:
        return _read_parquet(data, path, what)
    text = _decode(data, path, what)
    table = _read_csv(text, path, what) if suffix in _CSV else _read_jsonl(text, path, what)
    if not table.num_columns:
        raise UsageError(f"the {what} {path} is empty")
    return table


def cell_text(value: Any) -> str | None:
    """A cell as text; None, "" and NaN become None, and a list `a|b`, which is how several labels are written. Bytes are UTF-8.

    3.0 becomes "3": writers turn whole numbers into floats where one of a column is missing.
    """
    match value:
        case None | "":
            return None
        case str():
            return value
        case bytes():
            return value.decode(errors="backslashreplace") or None
        case bool():
            return str(value).lower()
        case float():
            return None if math.isnan(value) else str(int(value)) if value.is_integer() else str(value)
        case dict():
            return json.dumps(value, ensure_ascii=False, default=str)
        case list():
            return SEPARATOR.join(text for text in map(cell_text, value) if text is not None)
        case _:
            return str(value)


def label_text(value: Any) -> str | None:
    """A label as text. An empty list, none of the classes, is a lone separator: the empty text says that there is no label."""
    return SEPARATOR if value == [] else cell_text(value)


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise NotFoundError(f"no such {what}: {path} ({getattr(error, 'strerror', None) or error})") from None


def _decode(data: bytes, path: Path, what: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"the {what} {path} is not UTF-8 text: {error.reason} at byte {error.start}; save it as UTF-8") from None


def _read_csv(text: str, path: Path, what: str) -> pa.Table:
    # Not Arrow's reader: it cannot say which line is wrong, and stops at cells of several lines that straddle its blocks.
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        names = next(reader, [])
        if len(names) == 1 and (found := next((mark for mark in (";", "\t") if mark in names[0]), None)):
            raise UsageError(f"the {what} {path} has {found!r} between its columns; expected commas: save it as a CSV with commas")
        if any(name.startswith(" ") for name in names):  # "path, label": the space belongs to the commas, here and below
            reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
            names = next(reader)
        names = [name.strip() for name in names]
        if len(set(names)) != len(names):
            raise UsageError(f"the {what} {path} has a column name twice in its header: {', '.join(names)}")
        columns: list[list[str | None]] = [[] for _ in names]
        for row in reader:
            if not "".join(row).strip() and len(row) != len(names):  # a line without anything, or with spaces
                continue
            if len(row) != len(names):
                raise UsageError(f"the {what} {path} has {len(row)} cells in line {reader.line_num}, its header {len(names)}")
            for column, cell in zip(columns, row, strict=True):
                column.append(cell or None)
    except csv.Error as error:
        raise UsageError(f"the {what} {path} is not a readable CSV: {error} (an unclosed quote?)") from None
    # The column without a name is the index that pandas' to_csv writes.
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True) if name})


def _read_jsonl(text: str, path: Path, what: str) -> pa.Table:
    # Not Arrow's reader: it turns text that looks like a date into a date, and refuses columns of several kinds.
    rows = list(_json_objects(text, path, what))
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _array([row.get(name) for row in rows]) for name in names})


def _json_objects(text: str, path: Path, what: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the {what} {path} has no JSON object in line {number}: {error}") from None
        if "\\u" in line and _LONE_SURROGATE.search(json.dumps(row, ensure_ascii=False)):
            raise UsageError(f"the {what} {path} has half a character (a lone surrogate) in line {number}")
        if not isinstance(row, dict):
            raise UsageError(f"the {what} {path} has a {type(row).__name__} in line {number}; expected one JSON object a line")
        yield row


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array(_alike(values))


def _alike(values: list[Any]) -> list[Any]:
    """Values of several kinds as ones of one kind: as lists of texts where some are lists, else as texts."""
    if not any(isinstance(value, list) for value in values):
        return [cell_text(value) for value in values]
    lists = [value if value is None or isinstance(value, list) else [value] for value in values]
    return [None if cells is None else [text for text in map(cell_text, cells) if text is not None] for cells in lists]


def _read_parquet(data: bytes, path: Path, what: str) -> pa.Table:
    try:
        names = pq.read_schema(pa.BufferReader(data)).names
        if len(set(names)) != len(names):
            raise UsageError(f"the {what} {path} has two columns of one name: {', '.join(names)}")
        table = pq.read_table(pa.BufferReader(data)).replace_schema_metadata(None)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"the {what} {path} is not a readable Parquet file ({str(error).splitlines()[0]})") from None
    # pandas keeps its index as a column; nobody asked for it.
    return table.drop_columns([name for name in table.column_names if name.startswith("__index_level_")])
