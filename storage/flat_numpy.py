"""Embeddings in .npy and .npz files. Pickles in them are never loaded."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.damage import damage_named
from storage.errors import DamagedError, UsageError
from storage.export import NPZ_NAMES
from storage.flat_file import FlatNames, column_of_array, missing, require_embeddings, type_of_array
from storage.origin import ORIGIN_KEY, Origin

_NAMES = {member: name for name, member in NPZ_NAMES.items()}  # what a member is called elsewhere
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class NpyFlat:
    """One array, mapped into memory, and keys from elsewhere."""

    origin: Origin | None = None
    further: Mapping[str, pa.DataType | None] = {}

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

    def column(self, name: str) -> pa.Array:
        raise KeyError(name)

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
        self._members = {name.removesuffix(".npy") for name in self._zip.namelist() if name.endswith(".npy")}
        try:
            note = self._array(ORIGIN_KEY) if ORIGIN_KEY in self._members else None
            self.origin = Origin.from_json(str(note).encode(), path) if note is not None else None
            self._keys = self._read_keys()
            with self._open(self._embedding, "--embedding-column") as member, damage_named(path, "file"):
                shape, self._fortran, self.dtype = _read_header(member, path)
            require_embeddings(path, self._embedding, shape, self.dtype, len(self._keys))
        except BaseException:
            self._zip.close()
            raise
        self.rows, self.shape = shape[0], shape[1:]
        others = sorted(self._members - {self._key, self._embedding, ORIGIN_KEY})
        self._member_of = {_NAMES.get(member, member): member for member in others}
        self.further: Mapping[str, pa.DataType | None] = {name: self._type(name) for name in self._member_of}

    def keys(self) -> list[Any]:
        return self._keys

    def column(self, name: str) -> pa.Array:
        kind = self.further[name]
        assert kind is not None
        return column_of_array(self._array(self._member_of[name]), kind, self.path)

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

    def _read_keys(self) -> list[Any]:
        array = self._array(self._key, "--key-column")
        if array.ndim != 1:
            raise UsageError(f"{self.path}: {self._key} should have one value a row, its shape is {list(array.shape)}")
        keys: list[Any] = array.tolist()
        return keys

    def _type(self, name: str) -> pa.DataType | None:
        with self._open(self._member_of[name], "") as file, damage_named(self.path, "file"):
            try:
                shape, _, dtype = _read_header(file, self.path)
            except UsageError:
                return None
        return None if dtype.hasobject else type_of_array(name, shape, dtype, self.rows)

    def _array(self, member: str, option: str = "") -> npt.NDArray[Any]:
        with self._open(member, option) as file, damage_named(self.path, "file"):
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
