"""Timings: whose they are, that they add up where they should, and that older receipts still parse."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from extractor.input_kind import InputKind
from extractor.pipeline import DecodePipeline
from extractor.receipt import RECEIPT_FIELDS, Receipt
from extractor.stages import FORWARD, POOLS, READER, STAGES, THREADS
from extractor.stopwatch import Stopwatch
from storage.errors import DamagedError
from storage.files import FileEntry

PIPELINE_STAGES = {name for name, stage in STAGES.items() if stage.thread in (READER, POOLS)}


def test_laps_add_up_to_the_time_that_passed() -> None:
    clock = Stopwatch()
    for stage, seconds in (("a", 0.02), ("b", 0.01), ("a", 0.02)):
        time.sleep(seconds)
        clock.lap(stage)
    total = clock.total
    assert clock.seconds.keys() == {"a", "b"}
    assert clock.seconds["a"] >= 0.04
    assert clock.seconds["b"] >= 0.01
    assert 0 <= total - sum(clock.seconds.values()) < 0.01


def test_every_stage_belongs_to_a_thread() -> None:
    assert {stage.thread for stage in STAGES.values()} == THREADS.keys()


@pytest.fixture
def paths(tmp_path: Path, photo: Callable[..., object], encode: Callable[..., bytes]) -> list[Path]:
    made = []
    for i in range(40):
        made.append(tmp_path / f"{i}.jpg")
        made[-1].write_bytes(encode(photo(60, 60, seed=i), "JPEG"))
    return made


def seconds_of(paths: list[Path], slow_claim: float = 0.0, slow_consumer: float = 0.0) -> tuple[dict[str, float], float]:
    def claim(digests: object) -> list[bool]:
        time.sleep(slow_claim)
        return [True] * len(digests)  # type: ignore[arg-type]

    started = time.perf_counter()
    pipeline = DecodePipeline([str(path) for path in paths], claim, [InputKind(32)], 4, threads=2)
    for _ in pipeline.batches():
        time.sleep(slow_consumer)
    return pipeline.outcomes.seconds, time.perf_counter() - started


def test_a_pipeline_times_its_stages_and_the_reader_no_longer_than_the_wall(paths: list[Path]) -> None:
    seconds, wall = seconds_of(paths)
    assert seconds.keys() == PIPELINE_STAGES
    assert all(value >= 0 for value in seconds.values())
    assert sum(value for name, value in seconds.items() if STAGES[name].thread == READER) <= wall
    assert 0 < seconds["decode"] + seconds["decode_idle"] <= 2 * wall


def test_a_slow_claim_shows_as_the_reader_waiting_for_it(paths: list[Path]) -> None:
    seconds, _ = seconds_of(paths, slow_claim=0.05)
    assert seconds["wait_claim"] >= 2 * 0.05  # two chunks
    assert seconds["wait_claim"] > seconds["wait_read"] + seconds["hash"]


@pytest.mark.slow
def test_a_slow_consumer_shows_as_idle_decoders_and_a_reader_that_waits_for_them(paths: list[Path]) -> None:
    seconds, wall = seconds_of(paths, slow_consumer=0.03)
    assert seconds["decode_idle"] > seconds["decode"]
    assert seconds["wait_decoder"] > 0.1
    assert seconds["wait_claim"] < 0.1 * wall


def test_nothing_to_do_takes_no_time() -> None:
    assert seconds_of([])[0] == {}


def table() -> pa.Table:
    return pa.table({name: pa.array([], kind) for name, kind in RECEIPT_FIELDS}, schema=pa.schema(RECEIPT_FIELDS))


def test_a_receipt_keeps_seconds_and_worker() -> None:
    written = Receipt("u", "photos", FileEntry("shards/x", "x", 1, 1), table(), {"read": 1}, {"wait": 0.5, "decode": 2.0}, "host/1/1")
    again = Receipt.from_table(written.to_table())
    assert (again.seconds, again.worker, again.shard) == (written.seconds, "host/1/1", written.shard)


def test_a_receipt_of_the_first_version_parses() -> None:
    head = {
        "unit": "000000",
        "corpus": "photos",
        "shard": None,
        "counters": {"read": 0, "bytes_read": 0, "embedded": 0},
        "seconds": {"wait": 1.0, "infer": 2.0, "write": 0.1},
    }
    receipt = Receipt.from_table(table().replace_schema_metadata({b"permafrost": json.dumps(head).encode()}))
    assert (receipt.seconds["infer"], receipt.worker) == (2.0, "")
    assert receipt.seconds.keys() <= {name for name, stage in STAGES.items() if stage.thread == FORWARD}


def test_a_table_with_a_head_of_another_kind_is_no_receipt() -> None:
    export = pa.table({"key": ["a"], "embedding": [b"0"]}).replace_schema_metadata({b"permafrost": b"{}"})
    with pytest.raises(DamagedError, match="other columns"):
        Receipt.from_table(export)
