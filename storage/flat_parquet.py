"""Embeddings in a Parquet file: fixed-length binary of an export, or lists of floats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from storage.damage import damage_named
from storage.errors import UsageError
from storage.flat_file import FlatNames, missing, require_embeddings
from storage.origin import ORIGIN_KEY, Origin


class ParquetFlat:
    def __init__(self, path: Path, names: FlatNames) -> None:
        self.path = path
        self._key, self._embedding = names.key or "key", names.embedding or "embedding"
        with damage_named(path, "file"):
            # Buffered: other writers make row groups larger than memory.
            self._file = pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
        try:
            self._schema = self._file.schema_arrow
            self.rows = int(self._file.metadata.num_rows)
            note = (self._schema.metadata or {}).get(ORIGIN_KEY.encode())
            self.origin = Origin.from_json(note, path) if note else None
            if len(set(self._schema.names)) != len(self._schema.names):
                raise UsageError(f"{path} has two columns of one name: {', '.join(self._schema.names)}")
            for name, option in ((self._key, "--key-column"), (self._embedding, "--embedding-column")):
                if name not in self._schema.names:
                    raise missing(path, name, self._schema.names, option)
            self.shape, self.dtype = self._layout(self._schema.field(self._embedding).type)
            require_embeddings(path, self._embedding, (self.rows, *self.shape), self.dtype, self.rows)
        except BaseException:
            self._file.close()
            raise
        self.further: Mapping[str, pa.DataType | None] = {
            field.name: field.type for field in self._schema if field.name not in (self._key, self._embedding)
        }

    def keys(self) -> list[Any]:
        values: list[Any] = self.column(self._key).to_pylist()
        return values

    def column(self, name: str) -> pa.ChunkedArray:
        with damage_named(self.path, "file"):
            return self._file.read(columns=[name]).column(name)

    def batches(self, size: int) -> Iterator[npt.NDArray[np.generic]]:
        start = 0
        with damage_named(self.path, "file"):
            for batch in self._file.iter_batches(size, columns=[self._embedding]):
                yield self._values(batch.column(self._embedding), start)
                start += batch.num_rows

    def close(self) -> None:
        self._file.close()

    def _layout(self, kind: pa.DataType) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """(shape of one embedding, dtype) of the column."""
        if pa.types.is_fixed_size_binary(kind):
            if self.origin is None:
                raise UsageError(
                    f"{self.path}: nothing in the file tells the shape and dtype of the bytes in {self._embedding!r}; save lists of floats"
                )
            dtype = np.dtype(self.origin.dtype).newbyteorder("<")
            self._require_width(kind.byte_width, dtype.itemsize)
            return self.origin.shape, dtype
        if isinstance(kind, pa.FixedShapeTensorType):
            return tuple(kind.shape), np.dtype(kind.value_type.to_pandas_dtype())
        if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            raise UsageError(f"{self.path}: {self._embedding!r} should be lists of floats, not {kind}")
        if not pa.types.is_floating(kind.value_type):
            raise UsageError(f"{self.path}: {self._embedding!r} should be lists of float16, float32 or float64, not of {kind.value_type}")
        width = kind.list_size if pa.types.is_fixed_size_list(kind) else self._first_width()
        if self.origin is not None:
            self._require_width(width, 1)
        return self.origin.shape if self.origin else (width,), np.dtype(kind.value_type.to_pandas_dtype())

    def _require_width(self, width: int, each: int) -> None:
        assert self.origin is not None
        if width != int(np.prod(self.origin.shape)) * each:
            raise UsageError(f"{self.path}: embeddings of {width} do not have the shape {list(self.origin.shape)} that the file states")

    def _first_width(self) -> int:
        with damage_named(self.path, "file"):
            first = next(self._file.iter_batches(1, columns=[self._embedding]), None)
        return len(first.column(self._embedding)[0].as_py() or ()) if first is not None else 0

    def _values(self, column: pa.Array, start: int) -> npt.NDArray[np.generic]:
        if column.null_count:
            raise UsageError(f"{self.path}: a row from {start} to {start + len(column) - 1} has no embedding (null)")
        if pa.types.is_fixed_size_binary(column.type):
            return np.frombuffer(b"".join(column.to_pylist()), self.dtype).reshape(len(column), *self.shape)
        width = int(np.prod(self.shape))
        if isinstance(column, pa.ExtensionArray):  # a tensor of fixed shape is stored as the list of its values
            column = column.storage
        if not pa.types.is_fixed_size_list(column.type):
            sizes = pa.compute.list_value_length(column).to_numpy(zero_copy_only=False)
            if (sizes != width).any():
                row = int(np.argmax(sizes != width))
                raise UsageError(f"{self.path}: row {start + row} has {sizes[row]} numbers, the rows before it {width}")
        values = column.flatten()
        if values.null_count:
            raise UsageError(f"{self.path}: an embedding in rows {start} to {start + len(column) - 1} lacks a number (null)")
        return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(column), *self.shape)
