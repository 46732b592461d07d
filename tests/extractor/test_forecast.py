from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extractor.corpus import Item
from extractor.forecast import Rate, is_a_measure, make_forecast, measured_rate, sample
from extractor.hardware import Hardware, hardware_of
from extractor.job import WorkerInfo
from extractor.refusals import require_room
from storage.commit import create_set
from storage.errors import RunError
from storage.feature_set import SetDescription
from storage.names import SetName
from storage.runs import RunFolder
from storage.space import Space
from tests.extractor.listings import Known, diff_of, items_of

SPACE = Space("g", "w", "l", "avg", 224, "image-v1", "tf", "float32", "float16")
WORKER = WorkerInfo(SPACE, (1280,), "here", {"device": "CPU"})


def items(n: int, size: int | None = 1000) -> list[Item]:
    return [Item(f"{i:05d}.jpg", f"{i}-1", bytes=size) for i in range(n)]


@pytest.mark.slow
def test_a_forecast_is_what_the_numbers_say() -> None:
    plan = make_forecast(diff_of(items(7200), {}), WORKER, Rate(2.0, "a run"), 3.0)
    assert (plan.images, plan.bytes_to_read, plan.shard_bytes) == (7200, 7_200_000, 7200 * 2560)
    assert (plan.seconds, plan.price) == (3600.0, 3.0)
    assert plan.shards == 29  # units of 256


@pytest.mark.slow
def test_all_views_of_an_image_take_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = replace(WORKER, space=replace(SPACE, views=("plain", "flip", "crop:0.5-1:1-1")))
    assert worker.image_bytes == 3 * WORKER.image_bytes == 3 * 2560
    plan = make_forecast(diff_of(items(100_000), {}), worker, Rate(2.0, "a run"), None)
    assert (plan.images, plan.shard_bytes, plan.shards) == (100_000, 100_000 * 7680, 64)
    monkeypatch.setattr("extractor.refusals.free_bytes", lambda folder: 5_000 * 1000)
    require_room([(1000, WORKER)], tmp_path)
    with pytest.raises(RunError, match="fewer --views"):
        require_room([(1000, worker)], tmp_path)


def test_what_only_moved_is_read_and_not_embedded() -> None:
    gone = {"old.jpg": Known("5-1", b"d" * 32)}
    plan = make_forecast(diff_of(items(10), gone), WORKER, Rate(1.0, "a run"), None)
    assert (plan.images, plan.bytes_to_read, plan.seconds, plan.price) == (9, 10_000, 9.0, None)


def test_what_is_not_known_is_not_made_up() -> None:
    plan = make_forecast(diff_of([*items(3), Item("x.jpg", "s")], {}), WORKER, None, 3.0)
    assert (plan.bytes_to_read, plan.images_per_second, plan.seconds, plan.price) == (None, None, None, None)


def test_nothing_to_do_takes_no_time() -> None:
    plan = make_forecast(diff_of([], {}), WORKER, Rate(5.0, "a run"), 1.0)
    assert (plan.images, plan.shards, plan.seconds, plan.price) == (0, 0, 0.0, 0.0)


def test_reports_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    name = SetName(tmp_path, "team", "set")
    create_set(name, SetDescription(SPACE, "parquet", (1280,), "float16", {"name": "b"}, "now"))
    (name.folder / "runs" / "20260101T000000Z-00000000" / "report.json").mkdir(parents=True)  # as root, everything else can be read
    assert measured_rate(name, [WORKER]) is None


def worker(where: str = "a (CPU)", device: str = "CPU", threads: int = 2, cores: int = 2) -> WorkerInfo:
    return WorkerInfo(SPACE, (1280,), where, {"device": device}, threads, cores)


def on_gpu(number: int, host: str = "a") -> WorkerInfo:
    return worker(f"{host} (H100, GPU {number})", "H100")


@pytest.mark.parametrize(
    ("workers", "device", "count", "said"),
    [
        ([worker()], "CPU", 2, "2 cores"),
        ([worker(threads=1)] * 2, "CPU", 2, "2 cores"),
        ([worker(threads=1)] * 60, "CPU", 2, "2 cores"),  # no more than there are
        ([worker(threads=1, cores=64)], "CPU", 1, "1 core"),
        ([worker(threads=4, cores=64)] * 3 + [worker("b (CPU)", threads=4, cores=2)], "CPU", 14, "14 cores"),
        ([on_gpu(0)], "H100", 1, "1 H100"),
        ([on_gpu(0), on_gpu(0), on_gpu(1), on_gpu(0, "b")], "H100", 3, "3 H100"),  # two share one
        ([worker("a (H100)", "H100")] * 3, "H100", 1, "1 H100"),  # threads of one process
    ],
)
def test_hardware_is_counted_and_not_workers(workers: list[WorkerInfo], device: str, count: int, said: str) -> None:
    found = hardware_of(workers)
    assert (found.device, found.count, str(found)) == (device, count, said)
    assert Hardware.from_dict(found.to_dict()) == found


REPORT = {
    "hardware": {"device": "CPU", "count": 2},
    "environment": {"engine": "tensorflow"},
    "counts": {"embedded": 1372, "read": 1372},
    "images_per_second": 100.0,
    "sets": ["s/t/n"],
    "joined_workers": 0,
    "left_workers": 0,
}


def rate_after(root: Path, workers: list[WorkerInfo], *reports: dict[str, Any]) -> Rate | None:
    """The rate for these workers where runs have left such reports, the newest last."""
    name = SetName(root, "team", "set")
    create_set(name, SetDescription(SPACE, "parquet", (1280,), "float16", {"name": "b"}, "now"))
    for number, report in enumerate(reports):
        RunFolder(name.folder, f"2026010{number + 1}T000000Z-00000000").write_report(report)
    return measured_rate(name, workers)


@pytest.mark.parametrize(
    ("workers", "images_per_second"),
    [([worker()], 100.0), ([worker(threads=1)] * 60, 100.0), ([worker(threads=4, cores=64)] * 16, 3200.0), ([on_gpu(0)], None)],
)
def test_a_rate_is_scaled_by_hardware_and_not_by_workers(
    tmp_path: Path, workers: list[WorkerInfo], images_per_second: float | None
) -> None:
    """60 workers on 2 cores were told to embed 30 times as much as 2."""
    rate = rate_after(tmp_path, workers, REPORT)
    assert (rate and rate.images_per_second) == images_per_second
    if rate:
        assert rate.source == "run 20260101T000000Z-00000000 in this space, 100 images/s on 2 cores"


@pytest.mark.parametrize(
    "change",
    [
        {"sets": ["s/t/n", "s/t/m"]},  # shared its time
        {"joined_workers": 3},
        {"left_workers": 1},
        {"counts": {"embedded": 99, "read": 99}},
        {"counts": {"embedded": 1372, "read": 99_000}},  # most of its time went to duplicates
        {"hardware": {"device": "H100", "count": 1}},
        {"hardware": {}},  # of older versions
        {"environment": {"engine": "openvino"}},
    ],
)
def test_a_run_in_other_circumstances_is_passed_over_for_an_older_one(tmp_path: Path, change: dict[str, Any]) -> None:
    rate = rate_after(tmp_path, [worker()], REPORT, {**REPORT, "images_per_second": 7.0, **change})
    assert rate is not None
    assert rate.images_per_second == 100.0


def test_the_newest_run_that_measured_something_counts(tmp_path: Path) -> None:
    rate = rate_after(tmp_path, [worker()], REPORT, {**REPORT, "images_per_second": 7.0})
    assert rate is not None
    assert rate.images_per_second == 7.0


@pytest.mark.parametrize(("n", "workers", "taken"), [(0, 1, 0), (10, 1, 10), (1000, 1, 64), (1000, 3, 192)])
def test_a_sample_is_spread_over_all(n: int, workers: int, taken: int) -> None:
    chosen = sample(items_of(items(n)), workers)
    assert len({item.key for item in chosen}) == taken
    assert not n or chosen[-1].key >= f"{n * 9 // 10 - 1:05d}"


@pytest.mark.parametrize("period", [2, 4, 5, 10, 20])
def test_a_sample_is_fair_to_regular_listings(period: int) -> None:
    """With a fixed stride of 20 all of the sample had the first of `period` alternating kinds, or none of it."""
    chosen = sample(items_of(items(1280)), 1)
    kinds = [int(item.key.removesuffix(".jpg")) % period for item in chosen]
    assert all(kinds.count(kind) <= 64 / period + 3 * (64 / period) ** 0.5 for kind in range(period))
    assert chosen == sample(items_of(items(1280)), 1)


@pytest.mark.parametrize(("embedded", "read", "expected"), [(100, 100, True), (99, 99, False), (100, 200, True), (100, 2000, False)])
def test_a_run_that_mostly_read_duplicates_is_no_measure(embedded: int, read: int, expected: bool) -> None:
    assert is_a_measure({"embedded": embedded, "read": read}) == expected
