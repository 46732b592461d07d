"""Listing, diff, plan and account of a corpus of ten million synthetic items: seconds and peak memory of each step, as JSON.

    python -m scripts.bench_plan --items 10000000 --out plan.json

The items are rows of Parquet files in the layout of Hugging Face, a hundred thousand a file; each step is what `permafrost extract` does
before or after the forward passes, and no image is read. The receipts of workers are made up.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from extractor.claims import Claims
from extractor.diff import Diff, diff
from extractor.known import what_is_known
from extractor.ledger import Ledger
from extractor.plan import Unit, make_units
from extractor.receipt import Receipt, items_table
from extractor.sources import list_corpus
from scripts.bench_options import mistakes_told, multiple_of, new_file
from storage.commit import create_set, open_newest
from storage.digests import from_words
from storage.draft import Settled, commit_state, write_state
from storage.feature_set import FeatureSet, SetDescription
from storage.files import FileEntry
from storage.golden import no_golden_images, write_golden
from storage.index import committed_index
from storage.names import SetName
from storage.space import Space

ROWS_PER_FILE = 100_000
SAMPLE_SECONDS = 0.02
SPACE = Space("graph", "weights", "layer", "avg", 224, "image-v1", "tf", "float32", "float16")
SHAPE = (1280,)


class Meter:
    """Seconds, and the most memory that is not a mapped file, of each step. between: seconds between two looks; one costs 0.2 ms."""

    def __init__(self, between: float = SAMPLE_SECONDS) -> None:
        self._between = between
        self.steps: dict[str, dict[str, float]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        peak, stop = [0], threading.Event()

        def sample() -> None:
            while not stop.wait(self._between):
                peak[0] = max(peak[0], anonymous_bytes())

        thread = threading.Thread(target=sample)
        thread.start()
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            stop.set()
            thread.join()
            self.steps[name] = {"seconds": round(seconds, 2), "peak_mib": round(max(peak[0], anonymous_bytes()) / 2**20)}
            print(f"{name}: {self.steps[name]}", flush=True)


def anonymous_bytes() -> int:
    """Resident memory that is no page of a file: what cannot be dropped."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10
    raise RuntimeError("this system does not tell RssAnon")


def write_corpus(folder: Path, items: int) -> None:
    """Files of ROWS_PER_FILE images, each of eight bytes."""
    folder.mkdir(parents=True)
    for start in range(0, items, ROWS_PER_FILE):
        write_file(folder / f"part-{start // ROWS_PER_FILE:05d}.parquet", start, min(ROWS_PER_FILE, items - start))


def write_file(path: Path, start: int, rows: int) -> None:
    values = np.arange(start, start + rows, dtype=np.int64)
    images = pa.array(values).view(pa.binary(8)).cast(pa.binary())
    column = pa.StructArray.from_arrays([images, pa.nulls(rows, pa.string())], ["bytes", "path"])
    pq.write_table(pa.table({"image": column, "label": pa.array(values % 1000).cast(pa.string())}), path, row_group_size=10_000)


def made_up_receipt(unit: Unit, set_folder: Path) -> Receipt:
    """As if each image of the unit had been embedded; the shard is a hole of the right size."""
    n = len(unit.items)
    digests = [hashlib.sha256(item.key.encode()).digest() for item in unit.items]
    sha256 = hashlib.sha256(unit.id.encode()).hexdigest()
    entry = FileEntry(f"shards/{sha256}.parquet", sha256, n * 2560, n)
    (set_folder / "shards").mkdir(parents=True, exist_ok=True)
    with open(set_folder / entry.path, "wb") as file:
        file.truncate(entry.bytes)
    table = items_table(unit.items, digests, dict(enumerate(range(n))), {})
    return Receipt(unit.id, "photos", entry, table, {"read": n, "embedded": n}, {})


class Bench:
    def __init__(self, root: Path, items: int) -> None:
        self.corpus, self.name, self.items, self.meter = root / "corpus", SetName(root / "store", "team", "set"), items, Meter()

    def run(self) -> dict[str, Any]:
        with self.meter.step("write the corpus"):
            write_corpus(self.corpus, self.items)
        ledger, _ = self._before("all new")
        with self.meter.step("all new: plan and receipts"):
            units = make_units(ledger.diff.to_read, 2560)
            units.describe()
            for unit in units:
                ledger.add(made_up_receipt(unit, Path(str(self.name.folder))))
        self._after("all new", ledger, None)
        ledger, base = self._before("unchanged")
        assert len(ledger.diff.to_read) == 0, "nothing has changed"
        self._after("unchanged", ledger, base)
        self._change()
        ledger, base = self._before("1% changed, 1% moved")
        assert (ledger.diff.changed, ledger.diff.moved, ledger.diff.new) == (ROWS_PER_FILE,) * 3
        with self.meter.step("1% changed, 1% moved: the register of claims"):
            claims = Claims(ledger.index.digests())
            known = [digest for words in ledger.index.digests() for digest in from_words(words[:100]).to_pylist()]
            assert not any(claims.claim("unit", 1, known)), "what is known is nobody's"
        return {"items": self.items, "machine": {"cpus": os.cpu_count(), "python": platform.python_version()}, "steps": self.meter.steps}

    def _before(self, step: str) -> tuple[Ledger, FeatureSet | None]:
        with self.meter.step(f"{step}: list"):
            listing = list_corpus(self.corpus, "photos")
        assert len(listing.items) == self.items
        with self.meter.step(f"{step}: diff"):
            base = open_newest(self.name)
            index = committed_index(self.name)
            known = what_is_known(self.name, base, "photos", index)
            found: Diff = diff(listing.items, known.committed, known.recovered, known.bad, index)
        return Ledger(listing, found, index), base

    def _after(self, step: str, ledger: Ledger, base: FeatureSet | None) -> None:
        with self.meter.step(f"{step}: settle"):
            standing = ledger.settle()
        assert (standing.rows, standing.pending) == (self.items, 0)
        with self.meter.step(f"{step}: kinds"):
            assert sum(ledger.kinds().values()) == len(ledger.diff.to_read)
        with self.meter.step(f"{step}: write the version"):
            listing = ledger.listing
            before = base.manifest if base else None
            settled = Settled("photos", str(listing.source), listing.listed, standing.items(), standing.rejects())
            state = write_state(settled, self.name, before)
            create_set(self.name, SetDescription(SPACE, "parquet", SHAPE, "float16", {"name": "none"}, "now"))
            golden = write_golden(no_golden_images(SHAPE, "float16"), self.name.folder)
            shards = ledger.index.shards.values()
            commit_state(self.name, before, "photos", state, shards, golden, SPACE.id, {}, lambda _: None)

    def _change(self) -> None:
        """One file has other images under its old keys, another one has another name: with a hundred files, a hundredth each."""
        parts = sorted(self.corpus.iterdir())
        write_file(parts[0], self.items, ROWS_PER_FILE)
        parts[1].rename(self.corpus / "renamed.parquet")


def tell_result(bench: Callable[[Path], dict[str, Any]], out: Path | None) -> None:
    """Run it in a folder of its own; print what it gives, and write it to a file if one is wanted."""
    root = Path(tempfile.mkdtemp(prefix="permafrost-bench-"))
    try:
        text = json.dumps(bench(root), indent=2)
    finally:
        shutil.rmtree(root)
    print(text)
    if out:
        out.write_text(text + "\n")


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--items",
        type=multiple_of(ROWS_PER_FILE, 3 * ROWS_PER_FILE),
        default=10_000_000,
        help=f"a multiple of {ROWS_PER_FILE}, and three times that at least",
    )
    parser.add_argument("--out", type=new_file)
    args = parser.parse_args()
    tell_result(lambda root: Bench(root, args.items).run(), args.out)


if __name__ == "__main__":
    main()
