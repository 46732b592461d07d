"""Files of labels as rows: CSV, JSONL or Parquet, by the ending. What a label may be is said in `labels`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.disk import sha256_file
from storage.errors import UsageError
from storage.table_file import read_table_file

KEY_COLUMNS = ("key", "path")
COLUMNS = (*KEY_COLUMNS, "corpus", "label", "split")


@dataclass(frozen=True)
class LabelFile:
    """`rows`: values by column, with at least a key column and `label`. `digest`: sha256 of the file."""

    path: str
    digest: str
    key_column: str
    rows: list[Mapping[str, Any]]


def read_label_file(path: str | Path) -> LabelFile:
    """Read the columns `key` (or `path`), `label`, `split`, `corpus`; other columns are passed over.

    Raises NotFoundError, or UsageError (another ending, not readable as what its ending says, a missing column).
    """
    table = read_table_file(Path(path), "label file")
    columns = table.column_names
    key_column = next((name for name in KEY_COLUMNS if name in columns), None)
    if key_column is None or "label" not in columns:
        raise UsageError(f"the label file {path} must have the columns key (or path) and label; it has {', '.join(columns)}")
    rows = table.select([name for name in COLUMNS if name in columns]).to_pylist()
    return LabelFile(str(path), sha256_file(Path(path)), key_column, rows)
