"""Keys and embeddings that are in memory, as an import takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.errors import UsageError
from storage.flat_file import require_embeddings
from storage.origin import Origin
from storage.requests import require_order


class ArraysFlat:
    """path: what messages call it. columns: label, split, digest and attributes, one value a row; None for those that are not given."""

    origin: Origin | None = None

    def __init__(self, keys: Sequence[str], embeddings: npt.ArrayLike, columns: Mapping[str, Sequence[Any] | None]) -> None:
        self.path = Path("embeddings")
        self._keys, self._array = list(keys), _as_array(embeddings)
        require_embeddings(self.path, "the array", self._array.shape, self._array.dtype, len(self._keys))
        self.rows, self.shape, self.dtype = len(self._keys), self._array.shape[1:], self._array.dtype
        self._columns = {name: self._column(name, values) for name, values in columns.items() if values is not None}
        self.further: Mapping[str, pa.DataType | None] = {name: column.type for name, column in self._columns.items()}

    def keys(self) -> list[Any]:
        return self._keys

    def column(self, name: str) -> pa.Array:
        return self._columns[name]

    def batches(self, size: int) -> Iterator[npt.NDArray[np.generic]]:
        return (self._array[start : start + size] for start in range(0, self.rows, size))

    def close(self) -> None:
        """The arrays are the caller's."""

    def _column(self, name: str, values: Sequence[Any]) -> pa.Array:
        require_order(values, f"values of {name}", "the keys")
        try:
            given = values.to_pylist() if isinstance(values, (pa.Array, pa.ChunkedArray)) else values
            count, column = len(given), pa.array(given)
        except (pa.ArrowException, ValueError, TypeError, OverflowError, LookupError) as error:
            raise UsageError(f"the values of {name} cannot be a column: {error}") from None
        if count != self.rows:
            raise UsageError(f"{name} has {count} values for {self.rows} keys; each key needs its own, or None")
        return column


def _as_array(embeddings: npt.ArrayLike) -> npt.NDArray[np.generic]:
    try:
        array = np.asarray(embeddings)
    except (ValueError, TypeError) as error:
        raise UsageError(f"expected embeddings as an array of numbers [N, ...], with rows of one shape: {error}") from None
    if np.ma.is_masked(embeddings):
        raise UsageError("the embeddings have masked values, and an embedding has none that is missing: leave out these rows")
    if array.dtype.hasobject or array.dtype.kind in "SU":
        raise UsageError(f"expected embeddings as an array of numbers [N, ...]; got {type(embeddings).__name__} of {array.dtype}")
    return array
