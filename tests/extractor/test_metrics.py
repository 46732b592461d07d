"""What a run tells whoever watches: the numbers of its receipts, each once, and of what only grows the growth."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from extractor.crew import Turnover
from extractor.metrics import COUNTER, METRICS, PREFIX, RUN_TAGS, Record, RunMetrics
from extractor.unit_queue import Fault
from tests.extractor.simulated_cluster import make_units, receipt_of

Told = dict[tuple[str, tuple[tuple[str, str], ...]], float]
WHOSE = {"set": "team/photos", "run": "r"}


@pytest.fixture
def told() -> Told:
    return Counter()


@pytest.fixture
def metrics(told: Told) -> RunMetrics:
    def make(kind: str, name: str, what: str, tags: tuple[str, ...]) -> Record:
        def record(value: float, given: dict[str, str]) -> None:
            assert set(given) == set(tags), "Ray refuses other tags"
            assert value > 0 or kind != COUNTER, "Ray's counters refuse 0"
            key = (name.removeprefix(PREFIX), tuple(sorted((tag, text) for tag, text in given.items() if tag not in WHOSE)))
            assert {tag: given[tag] for tag in RUN_TAGS} == WHOSE
            told[key] = value + (told[key] if kind == COUNTER else 0)

        return record

    return RunMetrics(make, "team/photos", "r")


def test_a_receipt_counts_for_the_host_of_its_worker(metrics: RunMetrics, told: Told) -> None:
    for unit in make_units(3):
        metrics.receipt(receipt_of(unit, "gpu-1/77/1"))
    metrics.tell(1, Turnover(), {})
    metrics.tell(1, Turnover(), {})  # nothing has grown
    on_host = (("node", "gpu-1"),)
    assert told["images_read", on_host] == told["images_embedded", on_host] == told["units_finished", on_host] == 3
    assert told["bytes_read", on_host] == 30
    assert told["unit_seconds", on_host] == 0.5
    assert told["stage_seconds", (("node", "gpu-1"), ("stage", "infer"))] == 1.5
    assert not [key for key in told if key[0] == "images_rejected"]


def test_rejects_count_by_reason(metrics: RunMetrics, told: Told) -> None:
    receipt = receipt_of(make_units(1)[0], "gpu-1/77/1")
    table = receipt.items.set_column(receipt.items.schema.get_field_index("reason"), "reason", [["corrupt"]])
    metrics.receipt(type(receipt)(receipt.unit, receipt.corpus, None, table, receipt.counters, {}, receipt.worker))
    metrics.tell(1, Turnover(), {})
    assert told["images_rejected", (("node", "gpu-1"), ("reason", "corrupt"))] == 1


def test_of_what_only_grows_the_growth_is_told(metrics: RunMetrics, told: Told) -> None:
    metrics.tell(2, Turnover(), {})
    metrics.tell(1, Turnover(replaced=1, left=1), {Fault.DIED: 2})
    metrics.tell(3, Turnover(replaced=1, joined=2, left=1), {Fault.DIED: 2})
    metrics.tell(3, Turnover(replaced=1, joined=2, left=1), {Fault.DIED: 3})
    assert (told["workers", ()], told["workers_replaced", ()], told["workers_joined", ()], told["workers_left", ()]) == (3, 1, 2, 1)
    assert told["unit_failures", (("fault", "died"),)] == 3
    metrics.pending(7)
    metrics.pending(0)
    metrics.tell(3, Turnover(replaced=1, joined=2, left=1), {Fault.DIED: 3})
    assert told["items_pending", ()] == 0


def test_the_page_for_people_has_every_metric() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    rows = [f"| `{PREFIX}{name}` | {metric.kind} | {', '.join(metric.tags)} | {metric.what} |" for name, metric in METRICS.items()]
    assert [row for row in rows if row.replace("|  |", "| |") not in page] == []
