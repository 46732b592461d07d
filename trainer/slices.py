"""How good a head is on parts of the items: by camera, by country, by whatever the items or the listing tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import UsageError
from trainer.intervals import Interval, percentile_interval, resampled

SEED = 0
SMALL = 30  # rows: below, an accuracy says next to nothing
MOST_VALUES = 1000
MOST_NUMBERS = 12  # distinct ones that count as values; more are cut into QUANTILES parts
QUANTILES = 5


@dataclass(frozen=True)
class Slice:
    """The items with one value. `interval`: 95% of the accuracy."""

    value: str
    rows: int
    right: int
    interval: Interval

    @property
    def accuracy(self) -> float:
        return self.right / self.rows

    @property
    def is_small(self) -> bool:
        return self.rows < SMALL

    def to_dict(self) -> dict[str, Any]:
        interval = list(self.interval)
        return {"value": self.value, "rows": self.rows, "accuracy": self.accuracy, "accuracy_interval": interval, "small": self.is_small}


def slices(column: pa.ChunkedArray, right: npt.NDArray[np.bool_], name: str) -> list[Slice]:
    """By value of the column [N], worst first; right [N] says of which items the prediction is right.

    Numbers of more than MOST_NUMBERS values are cut at their quantiles. Raises UsageError for a column that has no values to slice by.
    """
    values, codes = _coded(column, name)
    rows = np.bincount(codes, minlength=len(values))
    hits = np.bincount(codes[right], minlength=len(values))
    found = [Slice(value, int(n), int(k), _interval(int(k), int(n))) for value, n, k in zip(values, rows, hits, strict=True) if n]
    return sorted(found, key=lambda each: (each.accuracy, each.value))


def _coded(column: pa.ChunkedArray, name: str) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Distinct values as text, and which of them each item has."""
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        column = _in_parts(column)
    elif pa.types.is_nested(column.type) or pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
        raise UsageError(f"the column {name!r} has no values to slice by: it is of type {column.type}")
    encoded = pc.cast(column, pa.string()).combine_chunks().dictionary_encode(null_encoding="encode")
    values = ["(none)" if value is None else value for value in encoded.dictionary.to_pylist()]
    if len(values) > MOST_VALUES:
        raise UsageError(f"the column {name!r} has {len(values)} values among {len(column)} items: choose one with at most {MOST_VALUES}")
    return values, np.asarray(encoded.indices, np.int64)


def _in_parts(numbers: pa.ChunkedArray) -> pa.ChunkedArray:
    """Many numbers as ranges, `0.5 to 1.25`, with about as many items in each."""
    there = pc.drop_null(numbers).to_numpy()
    if len(np.unique(there)) <= MOST_NUMBERS:
        return numbers
    edges = np.unique(np.nanquantile(there.astype(np.float64), np.linspace(0, 1, QUANTILES + 1)))
    names = pa.array([f"{low:.6g} to {high:.6g}" for low, high in pairwise(edges)])
    values = pc.cast(numbers, pa.float64()).combine_chunks()
    parts = np.clip(np.searchsorted(edges, values.to_numpy(zero_copy_only=False), "right") - 1, 0, len(names) - 1)
    return pa.chunked_array([names.take(pa.array(parts, mask=~np.asarray(values.is_valid())))])


def _interval(right: int, rows: int) -> Interval:
    """Wilson's score interval where all are right or none is: resamples of such a slice are all alike, and would claim certainty."""
    if 0 < right < rows:
        return percentile_interval(resampled(np.array([right, rows - right]), lambda drawn: drawn[:, 0] / rows, SEED))
    z = 1.96**2
    return Interval(rows / (rows + z), 1.0) if right else Interval(0.0, z / (rows + z))


def require_column(name: str, there: Sequence[str]) -> None:
    """Raise UsageError for a column that the items do not have."""
    if name not in there:
        raise UsageError(f"no item has a column {name!r} to slice by; there are {', '.join(there)}")
