"""Predictions on their way out: rows for JSON and tables, and CSV or Parquet files written as the batches come."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import UsageError
from storage.files import private_file, publish_as
from storage.table_file import SEPARATOR

SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class Predictions:
    """n items: `names` by column (image, or corpus and key), numbers of the `chosen` classes, `probabilities` [n, C]."""

    names: Mapping[str, list[str]]
    chosen: list[list[int]]
    probabilities: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Columns:
    """How predictions become columns. With several classes an item, `class` and `probability` hold lists."""

    names: tuple[str, ...]
    classes: tuple[str, ...]
    multi_label: bool
    all_probabilities: bool = False

    @property
    def schema(self) -> pa.Schema:
        text, number = pa.string(), pa.float32()
        several = pa.list_ if self.multi_label else lambda kind: kind
        fields = [*((name, text) for name in self.names), ("class", several(text)), ("probability", several(number))]
        return pa.schema([*fields, *((f"p({name})", number) for name in self.classes if self.all_probabilities)])

    def of(self, batch: Predictions) -> list[list[Any]]:
        """One list a column, in the schema's order."""
        labels = [[self.classes[i] for i in chosen] for chosen in batch.chosen]
        values = [[float(row[i]) for i in chosen] for row, chosen in zip(batch.probabilities, batch.chosen, strict=True)]
        pair: list[list[Any]] = [labels, values]
        if not self.multi_label:
            pair = [[cell[0] for cell in column] for column in pair]
        rest = batch.probabilities.T.tolist() if self.all_probabilities else []
        return [*(batch.names[name] for name in self.names), *pair, *rest]


def rows_of(batch: Predictions, columns: Columns) -> list[dict[str, Any]]:
    """One JSON object an item, with the probabilities of all classes."""
    fields = columns.schema.names
    rows = [dict(zip(fields, row, strict=True)) for row in zip(*columns.of(batch), strict=True)]
    return [
        {**row, "probabilities": dict(zip(columns.classes, map(float, p), strict=True))}
        for row, p in zip(rows, batch.probabilities, strict=True)
    ]


class PredictionWriter(Protocol):
    def write(self, batch: Predictions) -> None: ...


class _CsvWriter:
    def __init__(self, path: Path, columns: Columns) -> None:
        self._columns = columns
        self._file = open(path, "w", newline="", encoding="utf-8")  # noqa: SIM115 - closed by close()
        self._writer = csv.writer(self._file)
        self._writer.writerow(columns.schema.names)

    def write(self, batch: Predictions) -> None:
        self._writer.writerows(map(_cell, row) for row in zip(*self._columns.of(batch), strict=True))

    def close(self) -> None:
        self._file.close()


class _ParquetWriter:
    def __init__(self, path: Path, columns: Columns) -> None:
        self._columns = columns
        self._writer = pq.ParquetWriter(path, columns.schema)

    def write(self, batch: Predictions) -> None:
        schema = self._columns.schema
        arrays = [pa.array(values, field.type) for values, field in zip(self._columns.of(batch), schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

    def close(self) -> None:
        self._writer.close()


def check_out(path: Path, what: str = "predictions") -> None:
    """Raise UsageError for a file that predictions (or other rows) cannot be written to; worth asking before the work."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out {path} must end in {' or '.join(SUFFIXES)}; got {path.suffix or 'no ending'}")
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder: name a file in it, such as {path}/{what}{path.suffix}")


def require_clear(path: Path, columns: Columns) -> None:
    """Raise UsageError for a CSV in which several classes of an item could not be told apart."""
    unclear = [name for name in columns.classes if SEPARATOR in name]
    if columns.multi_label and path.suffix.lower() == ".csv" and unclear:
        raise UsageError(
            f"class names contain {SEPARATOR!r}, which separates classes in a CSV ({unclear[0]}): write a .parquet file instead"
        )


@contextmanager
def open_predictions(path: Path, columns: Columns) -> Iterator[PredictionWriter]:
    """A writer for `path`, which gets its name (and replaces an older file) only when everything is written."""
    kind = _ParquetWriter if path.suffix.lower() == ".parquet" else _CsvWriter
    with private_file(path.absolute().parent) as partial:
        writer = kind(partial, columns)
        try:
            yield writer
        finally:
            writer.close()
        publish_as(partial, path)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return SEPARATOR.join(map(_cell, value))
    return f"{value:.6f}" if isinstance(value, float) else str(value)
