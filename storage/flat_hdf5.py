"""Embeddings in an HDF5 file of anybody: datasets with a key and an embedding a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.damage import damage_named
from storage.errors import DamagedError, UsageError
from storage.flat_file import FlatNames, column_of_array, missing, require_embeddings, type_of_array
from storage.hdf5_file import holds_texts, open_file, own_dataset
from storage.origin import ORIGIN_KEY, Origin


class Hdf5Flat:
    def __init__(self, path: Path, names: FlatNames) -> None:
        self.path = path
        with damage_named(path, "file"):
            self._file = open_file(path, checksums=False)
        try:
            with damage_named(path, "file"):
                self.origin = Origin.from_json(self._file.attribute(ORIGIN_KEY), path)
                self._names = list(self._file.root)
                key, name = names.key or "key", names.embedding or "embedding"
                self._keys = self._read_keys(key)
                self._embeddings = self._dataset(name, "--embedding-column")
                shape, self.dtype = self._embeddings.shape, self._embeddings.dtype
            require_embeddings(path, name, shape, self.dtype, len(self._keys))
        except BaseException:
            self._file.close()
            raise
        self.rows, self.shape = shape[0], shape[1:]
        self.further: Mapping[str, pa.DataType | None] = {other: self._type(other) for other in self._names if other not in (key, name)}

    def keys(self) -> list[Any]:
        return self._keys

    def column(self, name: str) -> pa.Array:
        with damage_named(self.path, "file"):
            values = own_dataset(self._file, name)[:]
        kind = self.further[name]
        assert kind is not None
        return column_of_array(values, kind, self.path)

    def batches(self, size: int) -> Iterator[npt.NDArray[np.generic]]:
        for start in range(0, self.rows, size):
            with damage_named(self.path, "file"):
                yield np.asarray(self._embeddings[start : start + size])

    def close(self) -> None:
        self._file.close()

    def _dataset(self, name: str, option: str) -> Any:
        if name not in self._names:
            raise missing(self.path, name, self._names, option)
        return own_dataset(self._file, name)

    def _read_keys(self, name: str) -> list[Any]:
        dataset = self._dataset(name, "--key-column")
        if dataset.ndim != 1:
            raise UsageError(f"{self.path}: {name} should have one value a row, its shape is {list(dataset.shape)}")
        keys: list[Any] = dataset[:].tolist()
        return keys

    def _type(self, name: str) -> pa.DataType | None:
        try:
            with damage_named(self.path, "file"):
                dataset = own_dataset(self._file, name)
        except DamagedError:  # a group, or a link to another file
            return None
        if dataset.dtype.hasobject and not holds_texts(dataset):
            return None
        return type_of_array(name, dataset.shape, dataset.dtype, self.rows)
