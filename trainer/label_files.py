"""Files of labels as rows: CSV, JSONL or Parquet, by the ending. What a label may be is said in `labels`."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import NotFoundError, UsageError

KEY_COLUMNS = ("key", "path")
COLUMNS = (*KEY_COLUMNS, "corpus", "label", "split")


@dataclass(frozen=True)
class LabelFile:
    """`rows`: (where in the file, values by column), with at least a key column and `label`. `digest`: sha256 of the file."""

    path: str
    digest: str
    key_column: str
    rows: list[tuple[str, Mapping[str, Any]]]


def read_label_file(path: str | Path) -> LabelFile:
    """Read the columns `key` (or `path`), `label`, `split`, `corpus`; other columns are passed over.

    Raises NotFoundError, or UsageError (another ending, not readable as what its ending says, a missing column).
    """
    data = _read(path)
    suffix = Path(path).suffix.lower()
    if suffix not in _READERS:
        raise UsageError(f"the label file {path} must end in {', '.join(_READERS)}; got {suffix or 'no ending'}")
    rows = list(_READERS[suffix](data, str(path)))
    columns = dict.fromkeys(name for _, row in rows for name in row if name)
    key_column = next((name for name in KEY_COLUMNS if name in columns), None)
    if key_column is None or "label" not in columns:
        raise UsageError(f"the label file {path} must have the columns key (or path) and label; it has {', '.join(columns) or 'none'}")
    return LabelFile(str(path), hashlib.sha256(data).hexdigest(), key_column, [row for row in rows if row[0]])


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise NotFoundError(f"no such label file: {path} ({getattr(error, 'strerror', None) or error})") from None


# A reader yields first ("", all columns of the file), then its rows.
_Rows = Iterator[tuple[str, Mapping[str, Any]]]


def _csv_rows(data: bytes, path: str) -> _Rows:
    try:
        reader = csv.DictReader(io.StringIO(_text(data, path), newline=""))
        yield "", dict.fromkeys(reader.fieldnames or ())
        for row in reader:
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        raise UsageError(f"the label file {path} is not a readable CSV: {error} (an unclosed quote?)") from None


def _jsonl_rows(data: bytes, path: str) -> _Rows:
    for number, line in enumerate(_text(data, path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the label file {path} is not JSON in line {number}: {error}") from None
        if not isinstance(row, dict):
            raise UsageError(f"the label file {path} must hold one JSON object a line, line {number} has a {type(row).__name__}")
        yield f"line {number}", row


def _parquet_rows(data: bytes, path: str) -> _Rows:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        names = file.schema_arrow.names
        yield "", dict.fromkeys(names)
        rows: Iterable[Mapping[str, Any]] = file.read(columns=[name for name in COLUMNS if name in names]).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"the label file {path} is not a readable Parquet file: {error}") from None
    yield from ((f"row {number}", row) for number, row in enumerate(rows, 1))


def _text(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"the label file {path} is not UTF-8 text: {error.reason} at byte {error.start}") from None


_READERS: dict[str, Callable[[bytes, str], _Rows]] = {
    ".csv": _csv_rows,
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
    ".parquet": _parquet_rows,
}
