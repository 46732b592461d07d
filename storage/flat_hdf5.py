"""Embeddings in an HDF5 file of anybody: datasets with a key and an embedding a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.damage import damage_named
from storage.errors import UsageError
from storage.flat_file import FlatNames, missing, require_embeddings
from storage.hdf5_file import open_file, own_dataset
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
                self._keys = self._column(names.key or "key", "--key-column")
                name = names.embedding or "embedding"
                self._embeddings = self._dataset(name, "--embedding-column")
                shape, self.dtype = self._embeddings.shape, self._embeddings.dtype
            require_embeddings(path, name, shape, self.dtype, len(self._keys))
        except BaseException:
            self._file.close()
            raise
        self.rows, self.shape = shape[0], shape[1:]

    def keys(self) -> list[Any]:
        return self._keys

    def attribute(self, name: str) -> list[Any] | None:
        return self._column(name, "") if name in self._names else None

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

    def _column(self, name: str, option: str) -> list[Any]:
        dataset = self._dataset(name, option)
        with damage_named(self.path, "file"):
            values = dataset[:]
        if dataset.ndim == 2 and dataset.dtype == np.uint8:
            return [row.tobytes() for row in values]
        if dataset.ndim != 1:
            raise UsageError(f"{self.path}: {name} should have one value a row, its shape is {list(dataset.shape)}")
        column: list[Any] = values.tolist()
        return column
