"""What only HDF5 shards have; the contract of all formats is in test_shard_formats.py."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from storage.errors import DamagedError
from storage.hdf5 import Hdf5ShardReader, Hdf5ShardWriter
from storage.shard_layout import ShardLayout

LAYOUT = ShardLayout((2, 3), "float16", "5" * 64)
DIGESTS = [b"\0" * 32, b"a" + b"\0" * 31, b"\0" * 31 + b"a", bytes(range(32))] * 3  # a C string would lose the zeros
VALUES = np.random.default_rng(5).standard_normal((12, 2, 3)).astype(np.float16)


def write(path: Path, digests: list[bytes] = DIGESTS, values: npt.NDArray[np.generic] = VALUES) -> Path:
    writer = Hdf5ShardWriter(path, LAYOUT)
    writer.append(digests, [0] * len(digests), values)
    writer.close()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "shard.h5")


def test_h5py_alone_reads_plain_datasets(path: Path) -> None:
    with h5py.File(path) as file:
        assert set(file) == {"digest", "view", "embedding"}
        assert (file["digest"].dtype, file["digest"].shape) == (np.dtype(np.uint8), (12, 32))
        assert [row.tobytes() for row in file["digest"][:]] == DIGESTS
        assert file["view"].dtype == np.dtype("<i2")
        assert file["embedding"].dtype == np.dtype("<f2")
        np.testing.assert_array_equal(file["embedding"][:], VALUES)
        assert json.loads(file.attrs["permafrost"])["shape"] == [2, 3]


def test_digests_keep_their_zeros(path: Path) -> None:
    reader = Hdf5ShardReader(path)
    assert reader.digests() == DIGESTS
    reader.close()


def test_a_small_shard_is_small_and_a_large_one_has_chunks_of_a_read_batch(path: Path, tmp_path: Path) -> None:
    assert path.stat().st_size < VALUES.nbytes + 12 * 34 + 4096
    writer = Hdf5ShardWriter(tmp_path / "large.h5", ShardLayout((512, 512, 2), "float32", "5" * 64))  # 2 MiB each
    for i in range(5):
        writer.append([bytes([i]) * 32], [0], np.full((1, 512, 512, 2), i, np.float32))
    writer.close()
    with h5py.File(tmp_path / "large.h5") as file:
        assert file["embedding"].chunks == (1, 512, 512, 2)
    with h5py.File(path) as file:
        assert file["embedding"].chunks == (12, 2, 3)


def test_hundreds_of_chunks_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5's index of chunks has other blocks for the first few chunks than for later ones."""
    monkeypatch.setattr("storage.hdf5.CHUNK_BYTES", 1)
    values = np.random.default_rng(1).standard_normal((700, 2, 3)).astype(np.float16)
    write(tmp_path / "many.h5", [i.to_bytes(32, "little") for i in range(700)], values)
    reader = Hdf5ShardReader(tmp_path / "many.h5")
    np.testing.assert_array_equal(reader.read(0, 700), values)
    np.testing.assert_array_equal(reader.read(350, 352), values[350:352])
    assert reader.digests()[699] == (699).to_bytes(32, "little")
    reader.close()


@pytest.mark.slow
def test_the_bytes_depend_on_the_content_alone(path: Path, tmp_path: Path) -> None:
    time.sleep(1.1)  # HDF5's times are in seconds
    assert write(tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_a_read_only_shard_in_a_read_only_folder_is_read(path: Path) -> None:
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        np.testing.assert_array_equal(Hdf5ShardReader(path).read(0, 12), VALUES)
    finally:
        path.parent.chmod(0o755)


def test_a_shard_that_somebody_has_locked_is_read(path: Path) -> None:
    with open(path, "r+b") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)  # of the open file, not of the process: it holds against ourselves, too
        with pytest.raises(OSError, match="unable to lock file"):
            h5py.File(path, "r", locking=True)
        np.testing.assert_array_equal(Hdf5ShardReader(path).read(0, 12), VALUES)


def rewrite(path: Path, change: Callable[[h5py.File], None]) -> Path:
    """The file with a change, in the same file version."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        change(file)
    return path


def external_link(file: h5py.File) -> None:
    del file["embedding"]
    file["embedding"] = h5py.ExternalLink("other.h5", "embedding")


def soft_link(file: h5py.File) -> None:
    file.move("embedding", "elsewhere")
    file["embedding"] = h5py.SoftLink("/elsewhere")


def external_storage(file: h5py.File) -> None:
    del file["embedding"]
    file.create_dataset("embedding", (12, 2, 3), "<f2", external=[("/etc/passwd", 0, 144)])


def virtual(file: h5py.File) -> None:
    del file["embedding"]
    layout = h5py.VirtualLayout((12, 2, 3), "<f2", maxshape=(None, 2, 3))
    layout[:] = h5py.VirtualSource("other.h5", "embedding", (12, 2, 3))
    file.create_virtual_dataset("embedding", layout)


def filters(file: h5py.File) -> None:
    del file["embedding"]
    file.create_dataset("embedding", data=VALUES, chunks=(12, 2, 3), compression="gzip")


def big_endian(file: h5py.File) -> None:
    del file["embedding"]
    file.create_dataset("embedding", data=VALUES.astype(">f2"), chunks=(12, 2, 3))


def another_shape(file: h5py.File) -> None:
    del file["embedding"]
    file.create_dataset("embedding", data=VALUES[:, :1], chunks=(12, 1, 3))


def fewer_views(file: h5py.File) -> None:
    del file["view"]
    file.create_dataset("view", data=np.zeros(11, "<i2"), chunks=(11,))


def missing_chunks(file: h5py.File) -> None:
    del file["embedding"]
    file.create_dataset("embedding", (12, 2, 3), "<f2", chunks=(12, 2, 3))


def group(file: h5py.File) -> None:
    del file["embedding"]
    file.create_group("embedding")


def no_view(file: h5py.File) -> None:
    del file["view"]


def no_layout(file: h5py.File) -> None:
    del file.attrs["permafrost"]


def variable_layout(file: h5py.File) -> None:
    file.attrs["permafrost"] = LAYOUT.to_json().decode()


CHANGES = [external_link, soft_link, external_storage, virtual, filters, big_endian, another_shape]
CHANGES += [fewer_views, missing_chunks, group, no_view, no_layout, variable_layout]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_is_not_a_plain_dataset_of_the_file_itself_is_refused(path: Path, tmp_path: Path, change: Callable[[h5py.File], None]) -> None:
    write(tmp_path / "other.h5")
    with pytest.raises(DamagedError, match=str(path)):
        Hdf5ShardReader(rewrite(path, change))


def test_a_file_version_without_checksums_is_refused(path: Path) -> None:
    with h5py.File(path, "w", libver=("earliest", "v108")) as file:
        file["embedding"] = VALUES
    with pytest.raises(DamagedError, match="does not begin as an HDF5 file of version 3"):
        Hdf5ShardReader(path)


def test_readers_leave_no_file_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    Hdf5ShardReader(path).close()
    rewrite(path, no_view)
    with pytest.raises(DamagedError):
        Hdf5ShardReader(path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.slow
def test_threads_write_and_read_shards_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 is not thread-safe; extraction on one machine writes with several threads."""
    monkeypatch.setattr("storage.hdf5.CHUNK_BYTES", 100_000)
    layout = ShardLayout((128,), "float16", "5" * 64)

    def write_and_read(number: int) -> bool:
        path, values = tmp_path / f"{number}.h5", np.full((10_000, 128), number, np.float16)
        writer = Hdf5ShardWriter(path, layout)
        for start in range(0, 10_000, 1000):
            writer.append([bytes([number]) * 32] * 1000, [0] * 1000, values[start : start + 1000])
        writer.close()
        reader = Hdf5ShardReader(path)
        same = np.array_equal(reader.read(0, reader.rows), values)
        reader.close()
        return same

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(write_and_read, range(60)))
