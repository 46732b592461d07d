"""How busy one worker keeps its engine across the borders of units, as JSON: one unit at a time, and several as executors give them.

    python -m scripts.bench_worker CORPUS --out worker.json

Reading, claims, decoding, shards and receipts are the real ones, on the JPEGs of a folder. The engine only waits, as one on a GPU that is
as fast as decoding (or `--rate`) would make a worker wait; so the most that can be reached is what decoding alone reaches. Each round
takes all units in both ways and decodes them all without an engine; medians are told, and the seconds of the stages of the last round.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from extractor.corpus import Item
from extractor.decode_stream import DecodeStream
from extractor.device import prepare_process, usable_cores
from extractor.engine import IN_FLIGHT
from extractor.input_kind import input_kind
from extractor.job import Job
from extractor.pipeline import DecodePipeline
from extractor.plan import MIN_UNIT_ITEMS, Unit
from extractor.receipt import Receipt
from extractor.recipe import Recipe
from extractor.turns import UNITS_AT_ONCE
from extractor.worker import Worker
from scripts.bench_options import above_zero, at_least, folder_of_jpegs, jpegs_in, mistakes_told, new_file
from scripts.bench_plan import tell_result
from storage.golden import no_golden_images
from storage.runs import RunFolder
from storage.shard_layout import ShardLayout

WIDTH, BATCH = 1280, 32
WAYS = {"one unit at a time": 1, "units overlap": UNITS_AT_ONCE}


class WaitingEngine:
    """Takes so many images a second, whatever they are, and no CPU."""

    batch_size, shapes = BATCH, ((WIDTH,),)

    def __init__(self) -> None:
        self.rate = float("inf")

    def embed(self, images: Any) -> list[npt.NDArray[np.float32]]:
        n = int(images.shape[0])
        time.sleep(n / self.rate)
        return [np.ones((n, WIDTH), np.float32)]


class Bench:
    def __init__(self, root: Path, files: Sequence[Path], unit_items: int, size: int, threads: int) -> None:
        recipe = Recipe("mobilenet", "random:0", input_size=size, dtype="float32", args=(("alpha", 0.25),))
        self._worker, self.engine, self._threads = Worker([recipe], threads), WaitingEngine(), threads
        [network] = self._worker._networks
        network.engine = self.engine  # type: ignore[assignment]
        network.outputs = [replace(output, shape=(WIDTH,)) for output in network.outputs]
        items = [Item(str(file), "1-1", bytes=file.stat().st_size) for file in files]
        self._units = [items[start : start + unit_items] for start in range(0, len(items), unit_items)]
        self._kinds, images = [input_kind(recipe)], IN_FLIGHT * BATCH
        self._stream = DecodeStream(self._kinds, images, threads, Job.limits.pixels)
        self._images, self._root, self._numbers, self.files = images, root, itertools.count(), len(files)

    def decode(self) -> float:
        """Images a second without an engine, unit after unit."""
        began = time.perf_counter()
        for items in self._units:
            sizes = [item.bytes for item in items]
            pipeline = DecodePipeline(
                [item.key for item in items], _all, self._kinds, self._images, self._threads, sizes=sizes, stream=self._stream
            )
            for _ in pipeline.batches():
                pass
        return self.files / (time.perf_counter() - began)

    def work(self, at_once: int) -> tuple[float, Counter[str]]:
        """Images a second, and seconds by stage."""
        layout = ShardLayout((WIDTH,), "float32", "space")
        run = RunFolder(self._root / str(next(self._numbers)), "run")
        job = Job(run, "photos", Path("/"), "parquet", layout, no_golden_images((WIDTH,), "float32"))
        units = [Unit(f"{number:06d}", tuple(items)) for number, items in enumerate(self._units)]
        began = time.perf_counter()
        with ThreadPoolExecutor(at_once) as threads:
            receipts: Iterable[Receipt] = threads.map(lambda unit: self._worker.run(unit, job, _all), units)
            seconds = sum((Counter(dict(receipt.seconds)) for receipt in receipts), Counter[str]())
        return self.files / (time.perf_counter() - began), seconds


def _all(digests: Sequence[bytes]) -> list[int]:
    return [1] * len(digests)


def bench(root: Path, files: Sequence[Path], unit_items: int, size: int, rate: float | None, rounds: int) -> dict[str, Any]:
    made = Bench(root, files, unit_items, size, usable_cores())
    for at_once in WAYS.values():  # TensorFlow traces, and makes its iterators
        made.work(at_once)
    made.engine.rate = rate or made.decode()
    alone, rates, stages = [], {name: list[float]() for name in WAYS}, {}
    for _ in range(rounds):
        alone.append(made.decode())
        for name, at_once in WAYS.items():
            found, stages[name] = made.work(at_once)
            rates[name].append(found)
    medians = {name: statistics.median(of_way) for name, of_way in rates.items()}
    serial, overlapped = medians.values()
    return {
        "images": len(files),
        "unit_items": unit_items,
        "rounds": rounds,
        "engine": round(made.engine.rate, 1),
        "decoding_alone": round(statistics.median(alone), 1),
        "images_per_second": {name: round(value, 1) for name, value in medians.items()},
        "ratio": round(overlapped / serial, 3),
        "of_the_slower_of_both": round(overlapped / min(made.engine.rate, statistics.median(alone)), 3),
        "seconds": {name: {stage: round(value, 3) for stage, value in of_way.items()} for name, of_way in stages.items()},
    }


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=folder_of_jpegs, help="folder of JPEGs")
    parser.add_argument("--items", type=at_least(1), default=MIN_UNIT_ITEMS, help="of a unit")
    parser.add_argument("--units", type=at_least(1), default=12, help="at most")
    parser.add_argument("--size", type=at_least(1), default=224, help="pixels")
    parser.add_argument("--rate", type=above_zero, help="images a second of the engine")
    parser.add_argument("--rounds", type=at_least(1), default=5)
    parser.add_argument("--out", type=new_file)
    args = parser.parse_args()
    prepare_process(usable_cores(), use_gpus=False)
    files = [path.absolute() for path in jpegs_in(args.corpus)[: args.units * args.items]]
    tell_result(lambda root: bench(root, files, args.items, args.size, args.rate, args.rounds), args.out)


if __name__ == "__main__":
    main()
