"""Writing and reading embeddings: our shards beside copying memory, plain arrays, and Parquet and HDF5 with other options, as JSON.

    python -m scripts.bench_storage --mib 256 --rounds 5 --out storage.json

In each round every format writes and reads the same embeddings, one after the other, so that what else the machine does hits all alike;
medians are told, of CPU time, in which other work on the machine counts least. Files stay in the page cache: it is the formats that are
measured, not the disk. `read`: all rows into an array that is there, by one thread. `row`: one row at a random place of an open file.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from scripts.bench_options import at_least, mistakes_told, new_file
from scripts.bench_plan import tell_result
from storage import hdf5 as our_hdf5
from storage import parquet as our_parquet
from storage.shard import SHARD_FORMATS, ShardLayout

Array = npt.NDArray[np.generic]
SHAPES = {"vectors": (2048,), "maps": (7, 7, 2048)}
ROWS = 50  # read one by one
MIB = 1 << 20


@dataclass(frozen=True)
class Way:
    """How embeddings are stored. open: gives a function that reads rows start to stop into `out`, from a file that stays open."""

    write: Callable[[Path, Array], None]
    open: Callable[[Path, Array], Callable[[int, int, Array], None]]


def ours(name: str, block_bytes: int | None = None) -> Way:
    """block_bytes: of a row group or chunk, where it is another one than usual."""
    kind = SHARD_FORMATS[name]
    module, constant = {"parquet": (our_parquet, "ROW_GROUP_BYTES"), "hdf5": (our_hdf5, "CHUNK_BYTES")}[name]
    usual = getattr(module, constant)

    def write(path: Path, values: Array) -> None:
        setattr(module, constant, block_bytes or usual)
        writer = kind.writer(path, ShardLayout(values.shape[1:], str(values.dtype), "0" * 64))
        setattr(module, constant, usual)
        for start in range(0, len(values), 256):  # as workers do
            part = values[start : start + 256]
            writer.append([bytes(32)] * len(part), [0] * len(part), part)
        writer.close()

    return Way(write, lambda path, _: kind.reader(path).read_into)


def plain() -> Way:
    def opened(path: Path, _: Array) -> Callable[[int, int, Array], None]:
        held = np.load(path, mmap_mode="r")
        return lambda start, stop, out: np.copyto(out, held[start:stop])

    return Way(lambda path, values: np.save(path.open("wb"), values), opened)


def memory() -> Way:
    def opened(_: Path, values: Array) -> Callable[[int, int, Array], None]:
        return lambda start, stop, out: np.copyto(out, values[start:stop])

    return Way(lambda path, values: values.tofile(path), opened)


def arrow(column: Callable[[Array], pa.Array], group_bytes: int = 4 * MIB, **options: Any) -> Way:
    """Parquet as PyArrow reads it. column: how n embeddings become one column."""

    def write(path: Path, values: Array) -> None:
        settings = {"compression": "none", "use_dictionary": False, "write_statistics": False, **options}
        group = max(1, group_bytes // values[0].nbytes)
        first = pa.table({"embedding": column(values[:1])})
        with pq.ParquetWriter(path, first.schema, **settings) as writer:
            for start in range(0, len(values), group):
                writer.write_table(pa.table({"embedding": column(values[start : start + group])}))

    def opened(path: Path, values: Array) -> Callable[[int, int, Array], None]:
        file = pq.ParquetFile(path, memory_map=True)
        group = max(1, group_bytes // values[0].nbytes)

        def read(start: int, stop: int, out: Array) -> None:
            first, last = start // group, -(-stop // group)
            found = file.read_row_groups(list(range(first, last)), use_threads=False).column(0)
            at = 0
            for chunk in found.chunks:
                rows = _rows(chunk, values)
                low, high = max(start - first * group, at), min(stop - first * group, at + len(rows))
                if low < high:
                    out[low + first * group - start : high + first * group - start] = rows[low - at : high - at]
                at += len(rows)

        return read

    return Way(write, opened)


def _rows(chunk: pa.Array, values: Array) -> Array:
    if pa.types.is_fixed_size_binary(chunk.type):
        width = chunk.type.byte_width
        raw = np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * width : (chunk.offset + len(chunk)) * width]
        return raw.view(values.dtype).reshape(len(chunk), *values.shape[1:])
    return np.asarray(chunk.flatten().to_numpy().view(values.dtype).reshape(len(chunk), *values.shape[1:]))


def binary(values: Array) -> pa.Array:
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(values[0].nbytes), len(values), [None, pa.py_buffer(values.tobytes())])


def fixed_list(values: Array) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values[0].size)


def lists(values: Array) -> pa.Array:
    offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32) * values[0].size)
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)))


def hdf5(chunk_bytes: int | None, **options: Any) -> Way:
    """HDF5 as h5py reads it; chunk_bytes None: in one piece."""

    def write(path: Path, values: Array) -> None:
        with h5py.File(path, "w", libver="v110") as file:
            rows = min(len(values), max(1, (chunk_bytes or 0) // values[0].nbytes))
            chunks = (rows, *values.shape[1:]) if chunk_bytes else None
            dataset = file.create_dataset("embedding", values.shape, values.dtype, chunks=chunks, **options)
            for start in range(0, len(values), max(256, rows) // rows * rows):
                stop = min(len(values), start + max(256, rows) // rows * rows)
                dataset[start:stop] = values[start:stop]

    def opened(path: Path, _: Array) -> Callable[[int, int, Array], None]:
        dataset = h5py.File(path, "r", locking=False, rdcc_nbytes=0)["embedding"]
        return lambda start, stop, out: dataset.read_direct(out, np.s_[start:stop])

    return Way(write, opened)


WAYS: dict[str, Way] = {
    "copying memory": memory(),
    "npy, mapped": plain(),
    "our Parquet": ours("parquet"),
    "our HDF5": ours("hdf5"),
    **{f"our Parquet, groups of {size} MiB": ours("parquet", size * MIB) for size in (1, 16, 64)},
    **{f"our HDF5, chunks of {size} MiB": ours("hdf5", size * MIB) for size in (1, 16)},
    "PyArrow, binary, groups of 4 MiB": arrow(binary),
    "PyArrow, binary, groups of 64 MiB": arrow(binary, 64 * MIB),
    "PyArrow, binary, zstd": arrow(binary, compression="zstd"),
    "PyArrow, binary, lz4": arrow(binary, compression="lz4"),
    "PyArrow, fixed-size list": arrow(fixed_list),
    "PyArrow, fixed-size list, byte stream split, zstd": arrow(
        fixed_list, compression="zstd", column_encoding={"embedding.list.element": "BYTE_STREAM_SPLIT"}
    ),
    "PyArrow, list": arrow(lists),
    "h5py, chunks of 64 KiB": hdf5(MIB // 16),
    "h5py, chunks of 4 MiB": hdf5(4 * MIB),
    "h5py, in one piece": hdf5(None),
    "h5py, chunks of 4 MiB, lzf": hdf5(4 * MIB, compression="lzf"),
}


def made_up(shape: tuple[int, ...], size: int) -> Array:
    """Float16 values as networks give them: none below zero, and half of those in maps zero."""
    rows = size // (2 * int(np.prod(shape)))
    values = np.random.default_rng(0).standard_normal((rows, *shape), np.float32)
    return (np.abs(values) if len(shape) == 1 else np.maximum(values, 0)).astype(np.float16)


def measure(way: Way, path: Path, values: Array, out: Array) -> dict[str, float]:
    """Seconds of CPU; bytes of the file."""
    path.unlink(missing_ok=True)
    started = time.process_time()
    way.write(path, values)
    written = time.process_time()
    read = way.open(path, values)
    read(0, len(values), out)
    done = time.process_time()
    assert out.tobytes() == values.tobytes()
    places = np.random.default_rng(1).integers(0, len(values), ROWS)
    begun = time.process_time()
    for place in places:
        read(int(place), int(place) + 1, out[:1])
    return {"write": written - started, "read": done - written, "row": (time.process_time() - begun) / ROWS, "bytes": path.stat().st_size}


def bench(root: Path, size: int, rounds: int) -> dict[str, Any]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind, shape in SHAPES.items():
        values = made_up(shape, size)
        out = np.zeros_like(values)
        times: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
        for _ in range(rounds):
            for name, way in WAYS.items():
                times[name].append(measure(way, root / "embeddings", values, out))
        found[kind] = {name: _told(each, values.nbytes) for name, each in times.items()}
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "pyarrow": pa.__version__, "h5py": h5py.__version__}
    return {"bytes": size, "rounds": rounds, "machine": machine, **found}


def _told(times: list[dict[str, float]], size: int) -> dict[str, float]:
    median = {name: statistics.median(each[name] for each in times) for name in times[0]}
    return {
        "write_mb_s": round(size / 1e6 / median["write"]),
        "read_mb_s": round(size / 1e6 / median["read"]),
        "row_us": round(1e6 * median["row"], 1),
        "size": round(median["bytes"] / size, 3),
    }


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=at_least(1), default=256, help="of embeddings")
    parser.add_argument("--rounds", type=at_least(1), default=5)
    parser.add_argument("--out", type=new_file)
    args = parser.parse_args()
    tell_result(lambda root: bench(root, args.mib * MIB, args.rounds), args.out)


if __name__ == "__main__":
    main()
