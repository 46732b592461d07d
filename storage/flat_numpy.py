"""Embeddings in .npy and .npz files. Pickles in them are never loaded."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from storage.damage import damage_named
from storage.errors import DamagedError, UsageError
from storage.export import NPZ_NAMES
from storage.flat_file import FlatNames, missing, require_embeddings
from storage.origin import ORIGIN_KEY, Origin

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class NpyFlat:
    """One array, mapped into memory, and keys from elsewhere."""

    origin: Origin | None = None

    def __init__(self, path: Path, keys: list[str]) -> None:
        self.path, self._keys = path, keys
        with damage_named(path, "file"), open(path, "rb") as f:
            shape, _, self.dtype = _read_header(f, path)
        require_embeddings(path, "the array", shape, self.dtype, len(keys))
        self.rows, self.shape = shape[0], shape[1:]
        with damage_named(path, "file"):
            self._array = np.load(path, mmap_mode="r", allow_pickle=False)

    def keys(self) -> list[Any]:
        return self._keys

    def attribute(self, name: str) -> list[Any] | None:
        return None

    def batches(self, size: int) -> Iterator[npt.NDArray[np.generic]]:
        for start in range(0, self.rows, size):
            yield np.array(self._array[start : start + size])

    def close(self) -> None:
        del self._array


class NpzFlat:
    """Several arrays in a zip. The embeddings are read as a stream, since they may be compressed."""

    def __init__(self, path: Path, names: FlatNames) -> None:
        self.path = path
        self._key, self._embedding = names.key or NPZ_NAMES["key"], names.embedding or NPZ_NAMES["embedding"]
        with damage_named(path, "file"):
            self._zip = zipfile.ZipFile(path)
        self._members = {name.removesuffix(".npy") for name in self._zip.namelist()}
        try:
            note = self._array(ORIGIN_KEY) if ORIGIN_KEY in self._members else None
            self.origin = Origin.from_json(str(note).encode(), path) if note is not None else None
            self._keys = self._require(self._key, "--key-column")
            with self._open(self._embedding, "--embedding-column") as member, damage_named(path, "file"):
                shape, self._fortran, self.dtype = _read_header(member, path)
            require_embeddings(path, self._embedding, shape, self.dtype, len(self._keys))
        except BaseException:
            self._zip.close()
            raise
        self.rows, self.shape = shape[0], shape[1:]

    def keys(self) -> list[Any]:
        return self._keys

    def attribute(self, name: str) -> list[Any] | None:
        member = NPZ_NAMES.get(name, name)
        return self._require(member, "") if member in self._members else None

    def batches(self, size: int) -> Iterator[npt.NDArray[np.generic]]:
        if self._fortran:  # column after column: no row is whole before the end
            array = self._array(self._embedding)
            yield from (array[start : start + size] for start in range(0, self.rows, size))
            return
        row_bytes = self.dtype.itemsize * int(np.prod(self.shape))
        with self._open(self._embedding, "--embedding-column") as member, damage_named(self.path, "file"):
            _read_header(member, self.path)
            for start in range(0, self.rows, size):
                count = min(size, self.rows - start)
                data = member.read(count * row_bytes)
                if len(data) != count * row_bytes:
                    raise DamagedError(f"the file {self.path} is damaged: {self._embedding} ends after {start} rows or a little more")
                yield np.frombuffer(data, self.dtype).reshape(count, *self.shape)

    def close(self) -> None:
        self._zip.close()

    def _require(self, member: str, option: str) -> list[Any]:
        if member not in self._members:
            raise missing(self.path, member, sorted(self._members), option)
        array = self._array(member)
        if array.ndim == 2 and array.dtype == np.uint8:
            return [row.tobytes() for row in array]
        if array.ndim != 1:
            raise UsageError(f"{self.path}: {member} should have one value a row, its shape is {list(array.shape)}")
        values: list[Any] = array.tolist()
        return values

    def _array(self, member: str) -> npt.NDArray[Any]:
        with self._open(member, "") as file, damage_named(self.path, "file"):
            _, _, dtype = _read_header(file, self.path)
            if dtype.hasobject:
                raise UsageError(
                    f"{self.path}: {member} holds Python objects (pickles), which are never loaded; save it as an array of texts"
                )
        with self._open(member, "") as file, damage_named(self.path, "file"):
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))

    def _open(self, member: str, option: str) -> IO[bytes]:
        if member not in self._members:
            raise missing(self.path, member, sorted(self._members), option)
        with damage_named(self.path, "file"):
            return self._zip.open(f"{member}.npy")


def _read_header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, is in Fortran order, dtype)."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise UsageError(f"{path}: an array with named fields is no array of numbers")
    return _HEADERS[version](file)
