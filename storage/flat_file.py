"""Embeddings in somebody's own file: what an import needs of it, whichever kind of file it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.errors import NotFoundError, UsageError
from storage.origin import Origin
from storage.table_file import cell_text

Shape = tuple[int, ...]


@dataclass(frozen=True)
class FlatNames:
    """Names of columns (Parquet), datasets (HDF5) or members (npz) as the user gave them; None for the usual ones."""

    key: str | None = None
    embedding: str | None = None


class FlatFile(Protocol):
    """N rows with keys and embeddings [N, *shape]. Columns are read whole, embeddings in batches, front to back."""

    path: Path
    origin: Origin | None  # of an export of ours
    rows: int
    shape: Shape  # of one embedding
    dtype: np.dtype[Any]  # floating point
    further: Mapping[str, pa.DataType | None]  # the other columns; None for what has not one value a row

    def keys(self) -> list[Any]: ...

    def column(self, name: str) -> pa.Array | pa.ChunkedArray:
        """The values of one of the `further` columns, [N]."""
        ...

    def batches(self, size: int) -> Iterator[npt.NDArray[np.generic]]: ...

    def close(self) -> None: ...


def open_flat(path: Path, names: FlatNames, keys_file: Path | None) -> FlatFile:
    """Open .npy (with a file of keys), .npz, .parquet or .h5/.hdf5. Raises NotFoundError, UsageError, DamagedError."""
    # Imported here: each of them is of use for one kind of file.
    from storage.flat_hdf5 import Hdf5Flat
    from storage.flat_numpy import NpyFlat, NpzFlat
    from storage.flat_parquet import ParquetFlat

    if not path.is_file():
        raise NotFoundError(f"no such file: {path}")
    if (path.suffix == ".npy") != (keys_file is not None):
        raise UsageError(
            f"{path}: an .npy file has no keys; pass --keys FILE with one key a line"
            if keys_file is None
            else f"--keys is for .npy files; {path.name} brings its own keys"
        )
    if keys_file is not None:
        return NpyFlat(path, read_keys(keys_file))
    kinds: dict[str, Callable[[Path, FlatNames], FlatFile]] = {".npz": NpzFlat, ".parquet": ParquetFlat, ".h5": Hdf5Flat, ".hdf5": Hdf5Flat}
    if path.suffix not in kinds:
        raise UsageError(f"{path}: expected a file that ends in .npy, .npz, .parquet, .h5 or .hdf5, got {path.suffix or 'no ending'}")
    return kinds[path.suffix](path, names)


def read_keys(path: Path) -> list[str]:
    """One key a line, UTF-8."""
    if not path.is_file():
        raise NotFoundError(f"no such file: {path}")
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: the keys must be UTF-8 text ({error})") from None


def require_embeddings(path: Path, name: str, shape: Shape, dtype: np.dtype[Any], keys: int) -> None:
    """Raise UsageError unless [N, *shape] of `dtype` are embeddings for N keys."""
    if dtype.hasobject:
        raise UsageError(f"{path}: {name} holds Python objects (pickles), which are never loaded; save it as an array of numbers")
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise UsageError(f"{path}: {name} should be float16, float32 or float64, not {dtype}")
    if len(shape) < 2 or min(shape[1:]) < 1:
        raise UsageError(f"{path}: {name} should be an array [N, ...] with an embedding a row, its shape is {list(shape)}")
    if shape[0] != keys:
        raise UsageError(f"{path}: {keys} keys for {shape[0]} embeddings; each row needs its own key")


def missing(path: Path, name: str, there: list[str], option: str) -> UsageError:
    return UsageError(f"{path} has no {name!r}; it has {', '.join(map(str, there)) or 'nothing'}. Name the right one with {option}")


def text_cell(value: Any, path: Path) -> str | None:
    """A text from any file; what is empty is missing. Raises UsageError for bytes that are no UTF-8."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise UsageError(f"{path}: {value!r} is not UTF-8 text") from None
    return cell_text(value)


def type_of_array(name: str, shape: Shape | None, dtype: np.dtype[Any], rows: int) -> pa.DataType | None:
    """The type of an array's values as a column; None if they are not one a row."""
    if name == "digest" and dtype == np.uint8 and shape and len(shape) == 2 and shape[0] == rows:
        return pa.binary(shape[1])
    if shape != (rows,) or dtype.kind not in "biufSUO":
        return None
    return pa.string() if dtype.kind in "SUO" else pa.from_numpy_dtype(dtype)


def column_of_array(values: npt.NDArray[Any], kind: pa.DataType, path: Path) -> pa.Array:
    """The values as a column of that type; an empty text, which is how these files say that there is none, is null."""
    if pa.types.is_string(kind):
        return pa.array([text_cell(value, path) for value in values.tolist()], kind)
    return pa.array([row.tobytes() for row in values] if values.ndim == 2 else values, kind)
