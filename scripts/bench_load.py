"""Shuffled batches into tf.data: `trainer.load` from Parquet, from HDF5 and from memory beside the usual ways, as JSON.

    python -m scripts.bench_load --rows 300000 --rounds 5 --out load.json

Vectors of 2048 float16, float32 batches of 1,024, files in the page cache. In each round every way runs for about a second, one after the
other, so that what else the machine does hits all alike; medians are told, of clock and of CPU time, in which other work
counts least (two free cores make up to twice the rows of a CPU second). Ways that stream have a budget of 320 MiB, so that the process,
TensorFlow included, stays within 1 GiB: `peak_mib` is VmHWM of a process of its own that loads an epoch, without what TensorFlow imports
only because it is installed (`extractor.lean_imports`). `memcpy` is NumPy copying the
same rows one after the other.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow  # noqa: F401 - before TensorFlow
import tensorflow as tf

import storage
import trainer
from scripts.bench_options import at_least, mistakes_told, new_file
from scripts.bench_plan import tell_result
from scripts.made_set import MadeSet, made_space, new_set
from storage.names import SetName
from trainer.load import Stream

WIDTH = 2048
BATCH = 1024
SHUFFLED = 16 * 1024  # rows that the usual ways shuffle among: 64 MiB, as a window of ours
STREAM_BYTES = 320 << 20
LEAST_ROWS = 100_000  # of 4 KiB: what is streamed must not fit in STREAM_BYTES
ROWS_PER_SHARD = 16 * 1024  # 64 MiB, as extraction makes them
TFRECORD_ROWS = 100_000
Array = npt.NDArray[np.generic]


class QuickSet(MadeSet):
    """Embeddings of a table of random ones, with the picture's number in the first two values."""

    def embeddings(self, pictures: Sequence[int]) -> Array:
        numbers = np.array(pictures)
        values = np.asarray(_table()[numbers % len(_table())])
        values[:, 0], values[:, 1] = numbers % WIDTH, numbers // WIDTH
        return values


@cache
def _table() -> Array:
    return np.random.default_rng(0).random((4096, WIDTH), np.float32).astype(np.float16)


def make_sets(root: Path, rows: int) -> dict[str, str]:
    """The same labelled rows (odd pictures are) in a set of each format; their names."""
    made = {}
    for kind in ("parquet", "hdf5"):
        empty = new_set(SetName(root / "store", "bench", kind), made_space(), kind, (WIDTH,))
        made[kind] = QuickSet(empty.name, empty.description)
        made[kind].commit("photos", {f"{i:07d}.jpg": 2 * i + 1 for i in range(rows)}, ROWS_PER_SHARD)
    return {kind: one.uri for kind, one in made.items()}


@dataclass(frozen=True)
class Inputs:
    """What the ways read: streams of ours, a TFRecord file, and the features and targets of all rows in memory."""

    streams: Mapping[str, Stream]
    records: str
    features: Array
    y: Array


def inputs(root: Path, uris: Mapping[str, str]) -> Inputs:
    options = trainer.LoadOptions(batch_size=BATCH, epochs=None, memory=STREAM_BYTES)
    streams = {kind: trainer.open_stream(uri, options=options) for kind, uri in uris.items()}
    assert not any(one.in_memory for one in streams.values())
    held = replace(streams["parquet"], options=replace(options, memory=1 << 40))
    features = storage.open(uris["parquet"]).embeddings()
    y = held.items.y
    path = str(root / "rows.tfrecord")
    with tf.io.TFRecordWriter(path) as file:
        for row, label in zip(features[:TFRECORD_ROWS], y, strict=False):
            file.write(_example(row, int(label)))
    return Inputs({**streams, "memory": held}, path, features, y)


def _example(row: Array, label: int) -> bytes:
    found = {
        "x": tf.train.Feature(bytes_list=tf.train.BytesList(value=[row.tobytes()])),
        "y": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    encoded: bytes = tf.train.Example(features=tf.train.Features(feature=found)).SerializeToString()
    return encoded


def by_row(read: Inputs) -> tf.data.Dataset:
    def rows() -> Iterator[tuple[Array, int]]:
        for number in np.random.default_rng(0).permutation(len(read.y)):
            yield read.features[number].astype(np.float32), int(read.y[number])

    signature = (tf.TensorSpec((WIDTH,), tf.float32), tf.TensorSpec((), tf.int64))
    return tf.data.Dataset.from_generator(rows, output_signature=signature).batch(BATCH).prefetch(2)


def by_row_group(read: Inputs) -> tf.data.Dataset:
    def groups() -> Iterator[tuple[Array, Array]]:
        for start in np.random.default_rng(0).permutation(range(0, len(read.y), BATCH)):
            yield read.features[start : start + BATCH], read.y[start : start + BATCH]

    groups_of = tf.data.Dataset.from_generator(groups, output_signature=_batches(tf.float16))
    return groups_of.unbatch().shuffle(SHUFFLED).batch(BATCH).map(_cast).prefetch(2)


def by_batch(read: Inputs) -> tf.data.Dataset:
    def batches() -> Iterator[tuple[Array, Array]]:
        order = np.random.default_rng(0).permutation(len(read.y))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            yield read.features[rows].astype(np.float32), read.y[rows]

    return tf.data.Dataset.from_generator(batches, output_signature=_batches(tf.float32)).prefetch(2)


def records(read: Inputs) -> tf.data.Dataset:
    fields = {"x": tf.io.FixedLenFeature((), tf.string), "y": tf.io.FixedLenFeature((), tf.int64)}

    def parse(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = tf.io.parse_example(encoded, fields)
        x = tf.io.decode_raw(found["x"], tf.float16)
        return tf.cast(tf.ensure_shape(x, (None, WIDTH)), tf.float32), found["y"]

    return tf.data.TFRecordDataset(read.records).repeat().shuffle(SHUFFLED).batch(BATCH).map(parse, num_parallel_calls=2).prefetch(2)


def slices(read: Inputs) -> tf.data.Dataset:
    held = tf.data.Dataset.from_tensor_slices((read.features, read.y))
    return held.shuffle(SHUFFLED).repeat().batch(BATCH).map(_cast, num_parallel_calls=2).prefetch(2)


def _batches(dtype: tf.DType) -> tuple[tf.TensorSpec, tf.TensorSpec]:
    return tf.TensorSpec((None, WIDTH), dtype), tf.TensorSpec((None,), tf.int64)


def _cast(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.cast(x, tf.float32), y


def ours(name: str) -> Callable[[Inputs], tf.data.Dataset]:
    return lambda read: read.streams[name].dataset()


WAYS: dict[str, Callable[[Inputs], tf.data.Dataset]] = {
    "load, streamed from Parquet": ours("parquet"),
    "load, streamed from HDF5": ours("hdf5"),
    "load, in memory": ours("memory"),
    "from_generator by row": by_row,
    "from_generator by row group, unbatch, shuffle": by_row_group,
    "from_generator of ready batches": by_batch,
    "TFRecord, shuffle": records,
    "from_tensor_slices, shuffle": slices,
}


Rates = tuple[float, float]  # rows a second, and rows a second of CPU time of all threads


def rate(dataset: tf.data.Dataset, seconds: float) -> Rates:
    """From the first batch on, which it waits for."""
    batches = iter(dataset)
    next(batches)
    return _rate((int(x.shape[0]) for x, _ in batches), seconds)


def memcpy_rate(features: Array, seconds: float) -> Rates:
    """Of copying, a batch at a time, to where the one before was."""
    out = np.empty_like(features[:BATCH])

    def copied(start: int) -> int:
        np.copyto(out, features[start : start + BATCH])
        return BATCH

    starts = itertools.cycle(range(0, len(features) - BATCH + 1, BATCH))
    return _rate(map(copied, starts), seconds)


def _rate(batches: Iterator[int], seconds: float) -> Rates:
    started, used, rows = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - started < seconds and (got := next(batches, 0)):
        rows += got
    return rows / (time.perf_counter() - started), rows / (time.process_time() - used)


# As commands and workers do it: what else happens to be installed, TensorFlow would import too.
_LEAN = """
import runpy
from extractor.lean_imports import import_lean
import_lean()
runpy.run_module("scripts.bench_load", run_name="__main__")
"""


def peak(uri: str, memory: int) -> dict[str, float]:
    """MiB of a process that loads one epoch: its peak, and what it has once TensorFlow is there and the items are joined."""
    done = subprocess.run([sys.executable, "-c", _LEAN, "--peak", uri, str(memory)], capture_output=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _tell_peak(uri: str, memory: int) -> None:
    options = trainer.LoadOptions(batch_size=BATCH, memory=memory)
    opened = trainer.open_stream(uri, options=options)
    before, rows = _memory("VmRSS"), 0
    for x, _ in opened.dataset():
        rows += int(x.shape[0])
    assert rows == opened.rows
    print(json.dumps({"before_mib": before, "peak_mib": _memory("VmHWM")}))


def _memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024, 1)


def bench(root: Path, rows: int, rounds: int, seconds: float = 1.0, peaks: bool = True) -> dict[str, Any]:
    uris = make_sets(root, rows)
    read = inputs(root, uris)
    rates: dict[str, list[Rates]] = {name: [] for name in ("memcpy", *WAYS)}
    load = [os.getloadavg()[0]]
    for _ in range(rounds):
        rates["memcpy"].append(memcpy_rate(read.features, seconds))
        for name, way in WAYS.items():
            rates[name].append(rate(way(read), seconds))
        load.append(os.getloadavg()[0])
    median, by_cpu = ({name: statistics.median(one[i] for one in each) for name, each in rates.items()} for i in range(2))
    return {
        "rows": rows,
        "rounds": rounds,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "tensorflow": tf.__version__},
        "load_average": [round(value, 1) for value in load],
        "rows_per_second": {name: round(value) for name, value in median.items()},
        "rows_per_cpu_second": {name: round(value) for name, value in by_cpu.items()},
        "gb_per_second_read": {name: round(value * 2 * WIDTH / 1e9, 2) for name, value in median.items()},
        "times_by_row": {name: round(value / median["from_generator by row"], 1) for name, value in median.items()},
        "of_memcpy": {name: round(value / median["memcpy"], 3) for name, value in median.items()},
        "times_by_row_in_cpu_time": {name: round(value / by_cpu["from_generator by row"], 1) for name, value in by_cpu.items()},
        "all": {name: [round(value) for value, _ in each] for name, each in rates.items()},
        "memory": {f"streamed from {kind}": peak(uri, STREAM_BYTES) for kind, uri in uris.items() if peaks},
    }


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=at_least(LEAST_ROWS), default=300_000)
    parser.add_argument("--rounds", type=at_least(1), default=5)
    parser.add_argument("--out", type=new_file)
    parser.add_argument("--peak", nargs=2, metavar=("SET", "BYTES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        _tell_peak(args.peak[0], int(args.peak[1]))
    else:
        tell_result(lambda root: bench(root, args.rows, args.rounds), args.out)


if __name__ == "__main__":
    main()
