"""Tables that users bring (CSV, JSONL, Parquet: lists of images, label sets) as Arrow tables. Errors name the file and the line."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import NotFoundError, UsageError

READ_ROWS = 1 << 14
SEPARATOR = "|"  # between the labels in one text
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_CSV, _JSONL, _PARQUET = (".csv",), (".jsonl", ".ndjson"), (".parquet", ".pq")


def is_table_file(path: Path) -> bool:
    """Whether the name says that this is a table this module reads."""
    return path.suffix.lower() in (*_CSV, *_JSONL, *_PARQUET)


def read_table_file(path: Path, what: str) -> pa.Table:
    """A whole table in memory; otherwise as `tables_of`."""
    return pa.concat_tables(tables_of(path, what))


def tables_of(path: Path, what: str) -> Iterator[pa.Table]:
    """Read a table in parts of one schema, READ_ROWS rows each, one at least; `what` names it in errors, e.g. "label file".

    CSV: UTF-8 with a header line; every column is text, because CSV has no types (an article number 007 stays one); an empty cell is
    null. JSONL: one object a line; a column whose values are of several kinds becomes text, or lists of texts if some are lists.
    Parquet: types as they are. Raises NotFoundError, or UsageError for another ending or unreadable content.
    """
    suffix = path.suffix.lower()
    if not is_table_file(path):
        raise UsageError(f"the {what} {path} should end in .csv, .jsonl or .parquet, which says how to read it")
    if suffix in _PARQUET:
        yield from _read_parquet(path, what)
        return
    try:
        yield from (_read_csv if suffix in _CSV else _read_jsonl)(path, what)
    except UnicodeDecodeError:
        error = _where_not_text(path)
        raise UsageError(f"the {what} {path} is not UTF-8 text: {error.reason} at byte {error.start}; save it as UTF-8") from None


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


def _opened(path: Path, what: str, newline: str) -> io.TextIOWrapper:
    try:
        return open(path, encoding="utf-8-sig", newline=newline)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise NotFoundError(f"no such {what}: {path} ({getattr(error, 'strerror', None) or error})") from None


def _where_not_text(path: Path) -> UnicodeDecodeError:
    """A reader of parts says where in a part."""
    try:
        path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return error
    raise AssertionError(f"{path} is UTF-8 after all")


def _read_csv(path: Path, what: str) -> Iterator[pa.Table]:
    # Not Arrow's reader: it cannot say which line is wrong, and stops at cells of several lines that straddle its blocks.
    with _opened(path, what, "") as file:
        try:
            spaced = _has_spaces(next(csv.reader(file, strict=True), []))
            file.seek(0)
            reader = csv.reader(file, strict=True, skipinitialspace=spaced)
            names = _header(next(reader, []), path, what)
            yield pa.table({name: pa.array([], pa.string()) for name in names if name})
            rows = _csv_rows(reader, names, path, what)
            while part := list(islice(rows, READ_ROWS)):
                # The column without a name is the index that pandas' to_csv writes.
                named = ((name, column) for name, column in zip(names, zip(*part, strict=True), strict=True) if name)
                yield pa.table({name: pa.array([cell or None for cell in column], pa.string()) for name, column in named})
        except csv.Error as error:
            raise UsageError(f"the {what} {path} is not a readable CSV: {_csv_problem(error)}") from None


def _csv_problem(error: csv.Error) -> str:
    """A cell over the limit may be all that follows a quote, so the limit stays; it is the csv module's."""
    if "field larger" in str(error):
        limit = csv.field_size_limit()
        return f"it has a cell of more than {limit} characters (an unclosed quote? JSONL and Parquet take texts of any length)"
    return f"{error} (an unclosed quote?)"


def _csv_rows(reader: Any, names: list[str], path: Path, what: str) -> Iterator[list[str]]:
    for row in reader:
        if len(row) == len(names):
            yield row
        elif "".join(row).strip():  # not a line without anything, or with spaces
            raise UsageError(f"the {what} {path} has {len(row)} cells in line {reader.line_num}, its header {len(names)}")


def _has_spaces(names: list[str]) -> bool:
    """ "path, label": the space belongs to the commas, here and below."""
    return any(name.startswith(" ") for name in names)


def _header(names: list[str], path: Path, what: str) -> list[str]:
    if not names:
        raise UsageError(f"the {what} {path} is empty")
    if len(names) == 1 and (found := next((mark for mark in (";", "\t") if mark in names[0]), None)):
        raise UsageError(f"the {what} {path} has {found!r} between its columns; expected commas: save it as a CSV with commas")
    names = [name.strip() for name in names]
    if len(set(names)) != len(names):
        raise UsageError(f"the {what} {path} has a column name twice in its header: {', '.join(names)}")
    return names


def _read_jsonl(path: Path, what: str) -> Iterator[pa.Table]:
    # Not Arrow's reader: it turns text that looks like a date into a date, and refuses columns of several kinds.
    kinds: dict[str, _Kind] = {}
    for rows in _json_parts(path, what):
        for name in dict.fromkeys(name for row in rows for name in row):
            kinds.setdefault(name, _Kind()).see([row.get(name) for row in rows])
    if not kinds:
        raise UsageError(f"the {what} {path} is empty")
    if widened := {name: kind for name, kind in kinds.items() if kind.is_widened}:
        for rows in _json_parts(path, what):
            for name, kind in widened.items():
                kind.require_room([row.get(name) for row in rows])
    for rows in _json_parts(path, what):
        yield pa.table({name: kind.array([row.get(name) for row in rows]) for name, kind in kinds.items()})


class _Kind:
    """What a JSONL column is, from all of its parts: of one Arrow type, or else of texts, or lists of texts."""

    def __init__(self) -> None:
        self._type: pa.DataType | None = pa.null()
        self._has_lists = False
        self.is_widened = False  # after the first values: whether those fit is then to be asked

    def see(self, values: list[Any]) -> None:
        self._has_lists = self._has_lists or any(isinstance(value, list) for value in values)
        if self._type is not None:
            try:
                types = (self._type, pa.array(values).type)
                [field] = pa.unify_schemas([pa.schema([("", kind)]) for kind in types], promote_options="permissive")
                self.is_widened = self.is_widened or self._type not in (pa.null(), field.type)
                self._type = field.type
            except (pa.ArrowException, OverflowError):
                self._type = None

    def require_room(self, values: list[Any]) -> None:
        """Become text if the type does not hold these values, as floats do not hold 2**53 + 1."""
        try:
            pa.array(values, self._type)
        except pa.ArrowException:
            self._type = None

    def array(self, values: list[Any]) -> pa.Array:
        if self._type is not None:
            return pa.array(values, self._type)
        kind = pa.list_(pa.string()) if self._has_lists else pa.string()
        return pa.array([self._alike(value) for value in values], kind)

    def _alike(self, value: Any) -> Any:
        if not self._has_lists:
            return cell_text(value)
        cells = value if value is None or isinstance(value, list) else [value]
        return None if cells is None else [text for text in map(cell_text, cells) if text is not None]


def _json_parts(path: Path, what: str) -> Iterator[list[dict[str, Any]]]:
    with _opened(path, what, "\n") as file:
        objects = _json_objects(file, path, what)
        while rows := list(islice(objects, READ_ROWS)):
            yield rows


def _json_objects(lines: Iterable[str], path: Path, what: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
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


def _read_parquet(path: Path, what: str) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if len(set(names)) != len(names):
                raise UsageError(f"the {what} {path} has two columns of one name: {', '.join(names)}")
            # pandas keeps its index as a column; nobody asked for it.
            wanted = [name for name in names if not name.startswith("__index_level_")]
            yield file.schema_arrow.empty_table().select(wanted).replace_schema_metadata(None)
            for batch in file.iter_batches(READ_ROWS, columns=wanted):
                yield pa.Table.from_batches([batch]).select(wanted).replace_schema_metadata(None)
    except FileNotFoundError as error:
        raise NotFoundError(f"no such {what}: {path} ({error.strerror or 'not found'})") from None
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"the {what} {path} is not a readable Parquet file ({str(error).splitlines()[0]})") from None
