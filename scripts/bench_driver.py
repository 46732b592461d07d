"""How busy one driver keeps many workers whose units take a second: shares of time, CPU seconds and latencies, as JSON.

    python -m scripts.bench_driver --workers 64 --units 20 --out driver.json

Driver, ledger, receipts, Ray actors and the register of claims are the real ones. The workers are without a network: for each unit they
claim made-up digests, in chunks as the real ones do, sleep in the place of the forward pass, and write the receipt; units overlap as
those of the real ones do. A worker is at work while it sleeps. So what it is not, between its first unit and the last one of all, it has
waited for the driver, for claims or for a core.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from extractor.bad_images import BadImages
from extractor.chunks import plan_chunks
from extractor.claims import Claim
from extractor.corpus import Item, Listing
from extractor.diff import KNOWN_COLUMNS, diff
from extractor.engine_choice import EngineChoice
from extractor.executor import go_on
from extractor.job import Job, WorkerInfo
from extractor.lean_imports import import_lean
from extractor.ledger import Ledger
from extractor.listing import ADD_ROWS, ListingBuilder
from extractor.options import ExtractOptions
from extractor.plan import SHARD_BYTES, Unit
from extractor.ray_executor import RayExecutor
from extractor.receipt import Receipt, items_table
from extractor.recipe import Recipe
from extractor.rounds import Rounds
from extractor.set_run import SetRun
from extractor.stopwatch import Stopwatch
from extractor.turns import Turns
from extractor.unit_queue import LostUnit
from scripts.bench_options import above_zero, at_least, mistakes_told, new_file
from scripts.bench_plan import Meter, tell_result
from scripts.light_worker import actor_class
from scripts.process_tree import command, descendants
from storage.files import FileEntry
from storage.golden import no_golden_images
from storage.index import EmbeddingIndex
from storage.names import SetName
from storage.row_sorter import RowSorter
from storage.runs import RunFolder
from storage.shard_layout import ShardLayout
from storage.space import Space

RECIPE = Recipe("mobilenet_v2", "random:1", dtype="float32")
SPACE = Space("sleep", "none", "none", "avg", 224, "image-v1", "tf", "float32", "float32")
PROCESSES = {"_Claims": "register", "_Actor": "workers", "raylet": "ray", "gcs_server": "ray", "ray::": "ray"}  # by what is in a command


class Sleeper:
    """A worker whose forward passes take so many seconds. Its receipts tell when it was at work, by the clock that all processes share."""

    def __init__(self, seconds: float, recipes: Sequence[Recipe], threads: int, engine: EngineChoice) -> None:
        import_lean()  # as real workers do before TensorFlow
        self._seconds, self._turns = seconds, Turns()
        self._name = f"worker/{os.getpid()}/1"

    def info(self) -> WorkerInfo:
        return WorkerInfo(SPACE, (1,), self._name, {"device": "CPU"})

    def use(self, engine: EngineChoice) -> None:
        """There is one."""

    def check(self, job: Job) -> None:
        return None

    def is_sound(self, job: Job) -> bool:
        return True

    def run(self, unit: Unit, job: Job, claim: Claim) -> Receipt:
        with self._turns.take() as turn:
            turn.await_decoding()
            digests = [hashlib.sha256(item.key.encode()).digest() for item in unit.items]
            claims: list[float] = []
            for chunk in plan_chunks([0] * len(digests)):
                asked = time.monotonic()
                assert all(claim(digests[chunk.start : chunk.stop])), "no two images are equal"
                claims.append(time.monotonic() - asked)
            turn.decoded()
            turn.await_embedding()
            began = time.monotonic()
            time.sleep(self._seconds)
            ended = time.monotonic()
        n = len(digests)
        entry = FileEntry(f"shards/{unit.id}.parquet", hashlib.sha256(unit.id.encode()).hexdigest(), 1, n)
        table = items_table(unit.items, digests, dict(enumerate(range(n))), {})
        times = {"began": began, "ended": ended, **{f"claim {i}": seconds for i, seconds in enumerate(claims)}}
        receipt = Receipt(unit.id, "photos", entry, table, {"read": n, "bytes_read": n, "embedded": n}, times, self._name)
        job.run.write_receipt(unit.id, receipt.to_table())
        return receipt


class WatchedExecutor(RayExecutor):
    """Keeps, of each unit, who did it and what its receipt tells of times."""

    def __init__(self, workers: int, seconds: float) -> None:
        super().__init__((RECIPE,), workers)
        self.actor_class = actor_class(partial(Sleeper, seconds))
        self.told: list[tuple[str, Mapping[str, float]]] = []

    def run(self, units: Iterable[Unit], check: Callable[[], None] = go_on) -> Iterator[Receipt | LostUnit]:
        for result in super().run(units, check):
            if isinstance(result, Receipt):
                self.told.append((result.worker, result.seconds))
            yield result


def made_up_listing(items: int) -> Listing:
    builder = ListingBuilder()
    for start in range(0, items, ADD_ROWS):
        builder.add([Item(f"photos/{i:09d}.jpg", "1000-1") for i in range(start, min(items, start + ADD_ROWS))])
    return builder.finish("photos", Path("/photos"), Path("/photos"), {}, lambda *_: "repeated")


def job_of(folder: RunFolder, unit_items: int) -> Job:
    """With embeddings of such a size that a unit of the plan has this many."""
    layout = ShardLayout((SHARD_BYTES // unit_items // 4,), "float32", SPACE.id)
    return Job(folder, "photos", Path("/photos"), "parquet", layout, no_golden_images(layout.shape, "float32"))


def cpu_seconds(pids: Mapping[int, str]) -> Counter[str]:
    """Of living processes, by their kind."""
    spent: Counter[str] = Counter()
    for pid, kind in pids.items():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        spent[kind] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # type: ignore[assignment]
    return spent


def kinds_of_processes() -> dict[int, str]:
    """This one and those of Ray that work for it, by id."""
    kinds = {pid: next((kind for part, kind in PROCESSES.items() if part in command(pid)), "") for pid in descendants(os.getpid())}
    return {os.getpid(): "driver", **{pid: kind for pid, kind in kinds.items() if kind}}


def summary(told: Sequence[tuple[str, Mapping[str, float]]], workers: int, seconds: float) -> dict[str, Any]:
    spans: dict[str, list[tuple[float, float]]] = {}
    for worker, times in told:
        spans.setdefault(worker, []).append((times["began"], times["ended"]))
    every = sorted(span for of_worker in spans.values() for span in of_worker)
    first, last = every[0][0], max(end for _, end in every)
    wall = last - first
    edges = sum(min(span)[0] - first + last - max(span)[1] for span in spans.values())
    gaps = [after[0] - before[1] for of_worker in spans.values() for before, after in pairwise(sorted(of_worker))]
    claims = [value for _, times in told for name, value in times.items() if name.startswith("claim")]
    return {
        "wall_seconds": round(wall, 3),
        "at_work": round(sum(end - began for began, end in every) / (workers * wall), 4),
        "of_ideal_rate": round(len(every) * seconds / (workers * wall), 4),
        "before_first_and_after_last": round(edges / (workers * wall), 4),
        "units_a_worker": [min(map(len, spans.values())), max(map(len, spans.values()))],
        "between_units_ms": _milliseconds(gaps),
        "claim_ms": _milliseconds(claims),
    }


def _milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": round(1000 * float(np.percentile(seconds, p)), 2) for p in (50, 95, 99, 100)}


def bench(root: Path, workers: int, units: int, unit_items: int, seconds: float) -> dict[str, Any]:
    name, meter = SetName(root / "store", "team", "set"), Meter(1.0)
    of_set, executor = SetRun(name, "run", ExtractOptions(RECIPE)), WatchedExecutor(workers, seconds)
    rounds = Rounds([of_set], ExtractOptions(RECIPE), executor, Stopwatch(), lambda _: None)
    listing = made_up_listing(workers * units * unit_items)
    known = RowSorter(KNOWN_COLUMNS, ["key"])
    index = EmbeddingIndex()
    of_set.listing, of_set.job = listing, job_of(of_set.folder, unit_items)
    of_set.ledger = Ledger(listing, diff(listing.items, known, known, BadImages(), index), index)
    try:
        with meter.step("start"):
            executor.start()
            executor.begin(of_set.job, [[]])
            executor.release("none")  # answers when the register is there
        kinds = kinds_of_processes()
        with rounds.heartbeat, meter.step("work"):
            rounds.heartbeat.start()
            before = cpu_seconds(kinds)
            lost = rounds.work(of_set.job)
            spent = cpu_seconds(kinds) - before
    finally:
        executor.close()
    assert not lost
    assert of_set.ledger.settle().rows == len(listing.items)
    return {
        "workers": workers,
        "unit_seconds": seconds,
        "unit_items": unit_items,
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        **summary(executor.told, workers, seconds),
        "cpu_seconds": {kind: round(value, 2) for kind, value in sorted(spent.items())},
        "steps": meter.steps,
    }


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=at_least(1), default=64)
    parser.add_argument("--units", type=at_least(1), default=20, help="of each worker")
    parser.add_argument("--items", type=at_least(1), default=300, help="of a unit")
    parser.add_argument("--seconds", type=above_zero, default=1.0, help="that a unit takes")
    parser.add_argument("--out", type=new_file)
    args = parser.parse_args()
    import_lean()
    tell_result(lambda root: bench(root, args.workers, args.units, args.items, args.seconds), args.out)


if __name__ == "__main__":
    main()
