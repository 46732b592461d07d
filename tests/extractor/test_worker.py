from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from extractor.folder_corpus import list_folder
from extractor.job import Job
from extractor.limits import DEFAULT_LIMITS
from extractor.plan import Unit
from extractor.stages import FORWARD, STAGES
from extractor.turns import UNITS_AT_ONCE
from storage.golden import no_golden_images
from storage.runs import RunFolder
from storage.shard_layout import ShardLayout
from tests.extractor.conftest import SMALL_START
from tests.extractor.warm import WarmExecutor

pytestmark = pytest.mark.slow


def test_units_that_overlap_give_what_units_one_after_the_other_give(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    source = make_corpus(30)
    items = list(list_folder(source).items)
    units = [Unit(f"{start:06d}", tuple(items[start : start + 6])) for start in range(0, 30, 6)]
    executor = WarmExecutor((SMALL_START,), 1)
    [info] = executor.start()
    worker = executor._workers[0]
    layout, golden = ShardLayout(info.shape, "float32", "space"), no_golden_images(info.shape, "float32")
    jobs = [Job(RunFolder(tmp_path / name, "run"), "photos", source, "parquet", layout, golden) for name in ("serial", "overlapping")]

    def claim(digests: Sequence[bytes]) -> list[int]:
        return [1] * len(digests)

    serial = [worker.run(unit, jobs[0], claim) for unit in units]
    began = time.perf_counter()
    with ThreadPoolExecutor(UNITS_AT_ONCE) as threads:
        overlapping = list(threads.map(lambda unit: worker.run(unit, jobs[1], claim), units))
    took = time.perf_counter() - began
    assert [(each.unit, each.shard, each.items, each.counters) for each in overlapping] == [
        (each.unit, each.shard, each.items, each.counters) for each in serial
    ]
    assert sum(each.seconds.get(name, 0) for each in overlapping for name, stage in STAGES.items() if stage.thread == FORWARD) <= took


def test_copies_of_an_image_are_weighed_once(make_corpus: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted(str(path) for path in make_corpus(3).rglob("*.*"))
    monkeypatch.setattr("extractor.precision_cost.affordable", lambda *_: 8)
    executor = WarmExecutor((SMALL_START,), 1)
    executor.start()
    weighed = executor.ask_one("weigh_precision", [*files, *files[1:], files[0]], DEFAULT_LIMITS, 10**6)
    assert weighed.digests == tuple(hashlib.sha256(Path(file).read_bytes()).digest() for file in files)
    assert weighed.cost["images"] == len(weighed.fine) == 3
