"""A set of a million synthetic items, or ten: what opening, listing, looking up, comparing and updating it takes, as JSON.

    python -m scripts.bench_items --items 1000000 --out items.json

Of each step: milliseconds of the clock and of CPU (the first time, and the median of further ones, files in the page cache), bytes that
the disk had to read when nothing of the store was in the page cache (with its read-ahead, up to 8 MiB a time here), bytes written, and
the bytes that the step cannot do without. Embeddings are 16 numbers, so that there is room for ten million.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import storage
from scripts.bench_options import mistakes_told, multiple_of, new_file
from scripts.bench_plan import SPACE, tell_result
from scripts.store import run_ls, run_show
from storage.commit import create_set, open_newest
from storage.digests import from_words
from storage.draft import Settled, commit_state, write_state
from storage.feature_set import FeatureSet, SetDescription
from storage.files import FileEntry, private_file, publish_by_content, size_of
from storage.golden import no_golden_images, write_golden
from storage.items import ITEM_SCHEMA
from storage.manifest import Manifest
from storage.names import SetName
from storage.row_file import RowFile, write_rows
from storage.shard import shard_format
from storage.shard_layout import ShardLayout
from storage.version_diff import diff_versions

SHAPE = (16,)
LAYOUT = ShardLayout(SHAPE, "float16", SPACE.id)
SHARD_ROWS, TABLE_ROWS = 25_600, 20_000
AGAIN = 5  # times that a step is repeated
PARTS = 50  # where a change is spread, in how many places
WORDS = 4


class Set:
    """Items by number: key, digest and place follow from it, and from the version in which it was changed last."""

    def __init__(self, root: Path, items: int) -> None:
        self.items, self.name = items, SetName(root / "store", "team", "set")
        self.changed = np.zeros(items, np.int32)  # the version
        self.place = np.arange(items)  # of the embedding among all shards' rows
        self.shards: list[FileEntry] = []
        create_set(self.name, SetDescription(SPACE, "parquet", SHAPE, "float16", {"name": "none", "weights": "none"}, "now"))

    def digests(self, numbers: np.ndarray) -> np.ndarray:
        """As good as random words [n, WORDS]: SplitMix64 of number and version."""
        seeds = (numbers.astype(np.uint64) << np.uint64(8)) + self.changed[numbers].astype(np.uint64)
        z = (seeds[:, None] * np.uint64(WORDS) + np.arange(WORDS, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))

    def change(self, numbers: np.ndarray, version: int) -> None:
        """Other images under these keys: new digests, and embeddings in new shards."""
        self.changed[numbers] = version
        self.place[numbers] = sum(shard.rows for shard in self.shards) + np.arange(len(numbers))
        for start in range(0, len(numbers), SHARD_ROWS):
            self.shards.append(self._write_shard(numbers[start : start + SHARD_ROWS]))

    def _write_shard(self, numbers: np.ndarray) -> FileEntry:
        kind, folder = shard_format("parquet"), self.name.folder / "shards"
        digests = from_words(self.digests(numbers)).to_pylist()
        values = np.repeat(numbers[:, None] % 1024, SHAPE[0], axis=1).astype(np.float16)
        with private_file(folder) as partial:
            writer = kind.writer(partial, LAYOUT)
            writer.append(digests, [0] * len(numbers), values)
            rows = writer.close()
            sha256, size = publish_by_content(partial, folder, kind.suffix)
        return FileEntry(f"shards/{sha256}{kind.suffix}", sha256, size, rows)

    def rows(self) -> RowFile:
        """As `Standing.items` gives them at the end of a run."""
        return write_rows(ITEM_SCHEMA, (self._table(start) for start in range(0, self.items, TABLE_ROWS)))

    def _table(self, start: int) -> pa.Table:
        numbers = np.arange(start, min(self.items, start + TABLE_ROWS))
        ends = np.cumsum([shard.rows for shard in self.shards])
        owners = np.searchsorted(ends, self.place[numbers], side="right")
        rows = self.place[numbers] - np.concatenate([[0], ends])[owners]
        names = pa.array([shard.sha256 for shard in self.shards])
        columns = [
            pa.array([key_of(number) for number in numbers.tolist()]),
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(numbers), np.int32)), pa.array(["photos"])),
            from_words(self.digests(numbers)),
            pa.array(
                [f"{20_000 + number * 7919 % 90_000}-{1_700_000_000_000_000_000 + number * 1_000_003}" for number in numbers.tolist()]
            ),
            pa.DictionaryArray.from_arrays(pa.array(owners.astype(np.int32)), names),
            pa.array(rows.astype(np.int32)),
            pa.array(numbers % 1000).cast(pa.string()),
            pa.nulls(len(numbers), pa.string()),
        ]
        return pa.table(columns, schema=ITEM_SCHEMA)

    def commit(self, rows: RowFile) -> Manifest:
        base = open_newest(self.name)
        before = base.manifest if base else None
        state = write_state(Settled("photos", "/photos", self.items, rows.blocks(), []), self.name, before)
        golden = write_golden(no_golden_images(SHAPE, "float16"), self.name.folder)
        return commit_state(self.name, before, "photos", state, self.shards, golden, SPACE.id, {}, lambda _: None)


def key_of(number: int) -> str:
    return f"photos/{number // 1000:05d}/{number:08d}.jpg"


class Meter:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.steps: dict[str, dict[str, float]] = {}

    def measure(self, name: str, least: int, work: Callable[[], object], again: int = AGAIN) -> None:
        """least: the bytes that the step cannot do without."""
        with self.step(name, least):
            work()
        times = [_seconds(work) for _ in range(again)]
        for kind, seconds in zip(("again_ms", "again_cpu_ms"), zip(*times, strict=True), strict=True):
            self.steps[name][kind] = round(1000 * statistics.median(seconds), 3)

    @contextlib.contextmanager
    def step(self, name: str, least: int) -> Iterator[None]:
        self._forget()
        before, started, cpu = _disk_bytes(), time.perf_counter(), time.process_time()
        yield
        seconds, cpu, after = time.perf_counter() - started, time.process_time() - cpu, _disk_bytes()
        read, written = (after[i] - before[i] for i in range(2))
        self.steps[name] = {"first_ms": round(1000 * seconds, 3), "first_cpu_ms": round(1000 * cpu, 3)}
        self.steps[name] |= {"read": read, "written": written, "least": least}

    def _forget(self) -> None:
        """Take what the store has out of the page cache."""
        for path in self._root.rglob("*"):
            if path.is_file():
                handle = os.open(path, os.O_RDONLY)
                os.fsync(handle)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(handle)


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Of the clock, and of CPU."""
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - cpu


def _disk_bytes() -> tuple[int, int]:
    """Read and written by this process so far; what was removed before it was written is not counted."""
    found = {line.split(":")[0]: int(line.split(":")[1]) for line in Path("/proc/self/io").read_text().splitlines()}
    return found["read_bytes"], found["write_bytes"] - found["cancelled_write_bytes"]


def bench(root: Path, items: int) -> dict[str, Any]:
    made, meter = Set(root, items), Meter(root)
    made.change(np.arange(items), 0)
    rows = made.rows()
    with meter.step("commit: all new", 0):
        made.commit(rows)
    meter.steps["commit: all new"]["least"] = _item_bytes(storage.open(str(made.name)))
    _measure_reading(made, meter)
    _measure_updates(made, meter)
    manifest = storage.open(str(made.name)).manifest
    about = {
        "item files": len(manifest.corpora["photos"].items),
        "shards": len(manifest.shards),
        "item bytes": _item_bytes(storage.open(str(made.name))),
    }
    return {"items": items, "machine": {"cpus": os.cpu_count(), "python": platform.python_version()}, "set": about, "steps": meter.steps}


def _measure_reading(made: Set, meter: Meter) -> None:
    uri, random = str(made.name), np.random.default_rng(0)
    manifest = sum(size_of(made.name.folder / path) or 0 for path in ("set.json", "versions/00000001.json"))
    meter.measure("open", manifest, lambda: storage.open(uri))
    meter.measure("store ls", manifest, lambda: _silent(run_ls, str(made.name.root)))
    meter.measure("store show", manifest, lambda: _silent(run_show, uri))
    group = 16_384 * 10  # bytes of a row group's keys, about
    keys = iter([key_of(int(number)) for number in random.integers(0, made.items, 1000)])
    feature_set = storage.open(uri)
    meter.measure("by_key: one key", group, lambda: feature_set.by_key([next(keys)]), 100)
    thousand = [key_of(int(number)) for number in random.choice(made.items, 1000, replace=False)]
    meter.measure("by_key: a thousand keys", min(1000, made.items // 16_384) * group, lambda: feature_set.by_key(thousand))
    digests = iter(from_words(made.digests(random.integers(0, made.items, 1000))).to_pylist())
    meter.measure("by_digest: one digest", 32 * made.items, lambda: feature_set.by_digest([next(digests)]), 100)
    meter.measure("read: a thousand rows", group, lambda: feature_set.read(made.items // 2, made.items // 2 + 1000))
    meter.measure("columns: label", made.items * 2, lambda: storage.open(uri).columns("label"))
    meter.measure("items: all columns", _item_bytes(feature_set), lambda: storage.open(uri).items)


def _measure_updates(made: Set, meter: Meter) -> None:
    hundredth = made.items // 100
    spread = np.arange(0, hundredth // PARTS)[None, :] + (np.arange(PARTS) * (made.items // PARTS))[:, None]
    steps = {
        "1% in one place": np.arange(made.items // 2, made.items // 2 + hundredth),
        f"1% in {PARTS} places": spread.reshape(-1),
        "1% all over": np.arange(0, made.items, 100),
    }
    for version, (what, numbers) in enumerate(steps.items(), 2):
        made.change(numbers, version)
        rows = made.rows()
        least = _item_bytes(storage.open(str(made.name))) // 100
        with meter.step(f"commit: {what}", least):
            made.commit(rows)
        old, new = (storage.open(f"{made.name}@{number}") for number in (version - 1, version))
        assert diff_versions(old, new).counts["changed"] == len(numbers)
        meter.steps[f"commit: {what}"]["item_bytes"] = _new_item_bytes(old, new)
        meter.measure(f"diff: {what}", 2 * least, lambda old=old, new=new: diff_versions(old, new), 3)  # type: ignore[misc]


def _item_bytes(feature_set: FeatureSet) -> int:
    return sum(entry.bytes for entry in feature_set.manifest.corpora["photos"].items)


def _new_item_bytes(old: FeatureSet, new: FeatureSet) -> int:
    return sum(entry.bytes for entry in {*new.manifest.corpora["photos"].items} - {*old.manifest.corpora["photos"].items})


def _silent(command: Callable[[argparse.Namespace], int], target: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        command(argparse.Namespace(target=target, json=False, name=None, backbone=None, space=None, corpus=None))


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=multiple_of(5_000), default=1_000_000, help="a multiple of 5,000")
    parser.add_argument("--out", type=new_file)
    args = parser.parse_args()
    tell_result(lambda root: bench(root, args.items), args.out)


if __name__ == "__main__":
    main()
