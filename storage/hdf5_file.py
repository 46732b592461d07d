"""HDF5 files as this project writes and trusts them. The only code that touches h5py, which is imported when a file is opened.

Written: superblock version 3, no timestamps, chunks written whole. Read: without file locks, and only what has checksums and stays
inside the file (no external links or storage, no virtual datasets, no filters, which could load plugins).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from storage.errors import DamagedError, UsageError

if TYPE_CHECKING:
    import h5py

SIGNATURE = b"\x89HDF\r\n\x1a\n\x03"  # with the superblock version: 3 is the one of libver v110


class Hdf5Writer:
    """A file under construction: attributes of the root, and datasets that grow by whole chunks."""

    def __init__(self, path: Path) -> None:
        self._disk = _Disk(path)
        with _whole_library():
            self._file = _create(self._disk)

    def set_attribute(self, name: str, value: bytes) -> None:
        """A fixed-length string: variable-length ones lie in heaps without checksums."""
        with self._disk_checked():
            self._file.attrs[name] = np.bytes_(value)

    def create_dataset(self, name: str, dtype: Any, shape: tuple[int, ...], chunk_rows: int) -> None:
        """A dataset (0, *shape) that can grow, in chunks of `chunk_rows` rows."""
        with self._disk_checked():
            self._file.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(chunk_rows, *shape))

    def write_chunk(self, name: str, start: int, values: npt.NDArray[np.generic], chunk_rows: int) -> None:
        """Write rows start .. start + len(values); start is a multiple of `chunk_rows`. A short chunk is the last, padded with zeros."""
        rows = len(values)
        if rows < chunk_rows:
            values = np.concatenate([values, np.zeros((chunk_rows - rows, *values.shape[1:]), values.dtype)])
        with self._disk_checked():
            dataset = self._file[name]
            dataset.resize(start + rows, axis=0)
            # Not `dataset[start:stop] = values`: that reads, fills and copies. The padding is ours, so no bytes of this process get out.
            dataset.id.write_direct_chunk((start, *[0] * (values.ndim - 1)), np.ascontiguousarray(values))

    def create_texts(self, name: str, chunk_rows: int) -> None:
        """A dataset (0,) of UTF-8 strings of variable length, that can grow."""
        import h5py

        self.create_dataset(name, h5py.string_dtype(), (), chunk_rows)

    def append_texts(self, name: str, texts: Sequence[str]) -> None:
        """Raises UsageError for a text with a NUL, where HDF5 would end it."""
        if nul := next((text for text in texts if "\0" in text), None):
            raise UsageError(f"HDF5 cannot hold {nul!r}, a {name} with a NUL character: export to .parquet instead")
        with self._disk_checked():
            dataset = self._file[name]
            start = len(dataset)
            dataset.resize(start + len(texts), axis=0)
            dataset[start:] = texts

    def close(self) -> None:
        """Finish the file; raises OSError if any write had failed."""
        try:
            with _whole_library():
                self._file.close()
        finally:
            self._disk.close()
            if self._disk.failure:
                raise self._disk.failure

    @contextmanager
    def _disk_checked(self) -> Iterator[None]:
        """Close the file and raise the disk's error if there was one, whatever HDF5 makes of what it then reads back."""
        try:
            with _whole_library():
                yield
        except Exception:
            if self._disk.failure is None:
                raise
        if self._disk.failure:
            self.close()


def _whole_library() -> AbstractContextManager[Any]:
    """h5py's own lock, held over a whole step of a writer.

    HDF5 is not thread-safe, and h5py locks each call of it. That is not enough for a file below it that is Python's (`_Disk`): of six
    threads writing 25 shards each, four or five failed with "no VOL object wrap context", and none once each step was held together.
    """
    from h5py._objects import phil

    return cast("AbstractContextManager[Any]", phil)


def create_file(path: Path) -> Hdf5Writer:
    return Hdf5Writer(path)


class Hdf5File:
    """An open file, for reading."""

    def __init__(self, path: Path, checksums: bool) -> None:
        import h5py

        self.path = path
        with open(path, "rb") as f:
            if checksums and f.read(len(SIGNATURE)) != SIGNATURE:
                raise DamagedError(f"the file {path} is damaged: it does not begin as an HDF5 file of version 3")
        # No chunk cache: reads go straight from the file into the result.
        self.root = h5py.File(path, "r", locking=False, rdcc_nbytes=0)

    def attribute(self, name: str) -> bytes:
        """A fixed-length string of the root; b"{}" if there is none."""
        import h5py

        if name not in self.root.attrs:
            return b"{}"
        kind = h5py.h5a.open(self.root.id, name.encode()).get_type()
        if not isinstance(kind, h5py.h5t.TypeStringID) or kind.is_variable_str():
            raise DamagedError(f"the file {self.path} is damaged: its attribute {name} is no fixed-length string")
        return bytes(self.root.attrs[name])

    def close(self) -> None:
        self.root.close()


def open_file(path: Path, checksums: bool = True) -> Hdf5File:
    """Open a finished file; raises DamagedError, or what h5py raises on damage (`storage.damage.damage_named` turns it into words).

    checksums: refuse the file versions whose metadata has none, which the library may not survive if they are damaged.
    """
    return Hdf5File(path, checksums)


def own_dataset(file: Hdf5File, name: str) -> h5py.Dataset:
    """The dataset of that name, if its values lie in the file itself; else DamagedError. It may have filters and any type."""
    import h5py

    if file.root.get(name, getclass=True, getlink=True) is not h5py.HardLink:  # asked before it is followed: it could lead anywhere
        raise DamagedError(f"the file {file.path} has no dataset {name!r} of its own")
    identity = h5py.h5o.open(file.root.id, name.encode())
    if not isinstance(identity, h5py.h5d.DatasetID):
        raise DamagedError(f"the file {file.path} is damaged: {name!r} is no dataset")
    made = identity.get_create_plist()
    if made.get_layout() == h5py.h5d.VIRTUAL or made.get_external_count():
        raise DamagedError(f"the file {file.path}: the values of {name!r} are in other files, which are not followed")
    return cast("h5py.Dataset", h5py.Dataset(identity))


def holds_texts(dataset: h5py.Dataset) -> bool:
    """Whether its values are strings, of fixed or variable length."""
    import h5py

    return h5py.check_string_dtype(dataset.dtype) is not None


def plain_dataset(file: Hdf5File, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> h5py.Dataset:
    """The dataset (N, *shape) of exactly `dtype` as it is written here: in chunks, all there, without filters; else DamagedError."""
    import h5py

    dataset = own_dataset(file, name)
    made = dataset.id.get_create_plist()
    if made.get_layout() != h5py.h5d.CHUNKED or made.get_nfilters():
        raise DamagedError(f"the file {file.path}: {name!r} is not stored in plain chunks, as shards are")
    if dataset.dtype != dtype or dataset.shape[1:] != shape or dataset.chunks[1:] != shape:
        raise DamagedError(f"the file {file.path}: {name!r} is {dataset.dtype} {dataset.shape}, expected {dtype} (N, *{shape})")
    # A chunk that is not there would be read as zeros, without a word.
    expected = -(-dataset.shape[0] // dataset.chunks[0])
    if dataset.id.get_num_chunks() != expected:
        raise DamagedError(f"the file {file.path} is damaged: {name!r} has {dataset.id.get_num_chunks()} chunks of {expected}")
    return dataset


def chunk_offset(dataset: h5py.Dataset, row: int) -> int:
    """The byte of the file at which the chunk begins that begins with this row of a plain dataset."""
    found = dataset.id.get_chunk_info_by_coord((row, *[0] * (dataset.ndim - 1)))
    return int(found.byte_offset)


def _create(disk: _Disk) -> h5py.File:
    import h5py

    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_obj_track_times(False)  # h5py.File has no word for it: the root group would carry the time
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, disk)
    return h5py.File(h5py.h5f.create(b"shard", h5py.h5f.ACC_TRUNC, creation, access))


class _Disk:
    """The file below HDF5, which keeps an error of the disk as `failure` and lets the library believe that all is well.

    HDF5 1.14 crashes the process when a write fails while it closes a file, as on a full disk. Tried with a limit on the file size.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w+b")  # noqa: SIM115 (closed by `close`)
        self.failure: BaseException | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._try("seek", offset, whence) or 0

    def tell(self) -> int:
        return self._try("tell") or 0

    def write(self, data: memoryview) -> int:
        self._try("write", data)
        return len(data)

    def readinto(self, buffer: memoryview) -> int:
        return self._try("readinto", buffer) or 0

    def truncate(self, size: int) -> int:
        self._try("truncate", size)
        return size

    def flush(self) -> None:
        self._try("flush")

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            self.failure = self.failure or error

    def _try(self, what: str, *arguments: Any) -> int | None:
        if self.failure is None:
            try:
                return cast("int | None", getattr(self._file, what)(*arguments))
            except BaseException as error:  # noqa: BLE001 (Ctrl-C, too, must not unwind through HDF5)
                self.failure = error
        return None
