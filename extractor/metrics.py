"""What a run tells whoever watches it, by name: counters, gauges and a histogram. Imports no Ray; `ray_executor` exports them with Ray's.

The driver records all of it, from the receipts that it accounts for: each unit counts once, whatever died or was tried again, and what
Prometheus adds up is what the report says. A tag for each worker would make new series at every replacement, so hosts are tagged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from extractor.crew import Turnover
from extractor.receipt import Receipt
from extractor.stages import FORWARD, STAGES
from extractor.unit_queue import Fault

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
PREFIX = "permafrost_"
SECONDS_BOUNDARIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@dataclass(frozen=True)
class Metric:
    kind: str
    what: str
    tags: tuple[str, ...] = ()  # beside RUN_TAGS


RUN_TAGS = ("set", "run")
METRICS: dict[str, Metric] = {
    "images_read": Metric(COUNTER, "images read and hashed", ("node",)),
    "images_embedded": Metric(COUNTER, "images that went through the network", ("node",)),
    "images_rejected": Metric(COUNTER, "images that became rejects", ("node", "reason")),
    "bytes_read": Metric(COUNTER, "bytes of the images read", ("node",)),
    "units_finished": Metric(COUNTER, "units whose receipt is accounted for", ("node",)),
    "unit_seconds": Metric(HISTOGRAM, "wall-clock seconds that a unit took of its worker's forward thread", ("node",)),
    "stage_seconds": Metric(COUNTER, "seconds of workers by stage; waits and pools of threads are stages too", ("node", "stage")),
    "unit_failures": Metric(COUNTER, "attempts at units that failed: each is tried again, split or given up", ("fault",)),
    "workers": Metric(GAUGE, "workers that are ready for units"),
    "workers_replaced": Metric(COUNTER, "workers that died, and had others in their place"),
    "workers_joined": Metric(COUNTER, "workers on nodes that joined"),
    "workers_left": Metric(COUNTER, "workers that went with their nodes"),
    "items_pending": Metric(GAUGE, "items that are still to be read"),
}

Record = Callable[[float, dict[str, str]], None]  # value, tags


class RunMetrics:
    """Of one run. make: gives what records values of a metric (kind, name, what it is, names of tags).

    What grows is added up until `tell`: a receipt has some 15 values, and Ray takes 15 to 25 us to record one.
    """

    def __init__(self, make: Callable[[str, str, str, tuple[str, ...]], Record], set_name: str, run: str) -> None:
        self._tags = {"set": set_name, "run": run}
        self._records = {name: make(m.kind, PREFIX + name, m.what, (*RUN_TAGS, *m.tags)) for name, m in METRICS.items()}
        self._told: Counter[tuple[str, str]] = Counter()
        self._grown: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()  # by name and tags
        self._pending = 0

    def receipt(self, receipt: Receipt) -> None:
        node = receipt.worker.partition("/")[0]
        for name, counter in (("images_read", "read"), ("images_embedded", "embedded"), ("bytes_read", "bytes_read")):
            self._add(name, receipt.counters[counter], node=node)
        for reason, count in Counter(receipt.items["reason"].drop_null().to_pylist()).items():
            self._add("images_rejected", count, node=node, reason=reason)
        self._add("units_finished", 1, node=node)
        for stage, seconds in receipt.seconds.items():
            self._add("stage_seconds", seconds, node=node, stage=stage)
        took = sum(receipt.seconds.get(name, 0.0) for name, stage in STAGES.items() if stage.thread == FORWARD)
        self._records["unit_seconds"](took, {**self._tags, "node": node})

    def tell(self, ready: int, turnover: Turnover, failures: Mapping[Fault, int]) -> None:
        """How things stand; of what only grows, the growth is recorded. ready: workers."""
        self._records["workers"](ready, self._tags)
        self._records["items_pending"](self._pending, self._tags)
        for name, total in asdict(turnover).items():
            self._grow(f"workers_{name}", "", total)
        for fault, total in failures.items():
            self._grow("unit_failures", fault.name.lower(), total, fault=fault.name.lower())
        grown, self._grown = self._grown, Counter()
        for (name, tags), value in grown.items():
            self._records[name](value, {**self._tags, **dict(tags)})

    def pending(self, items: int) -> None:
        self._pending = items

    def _grow(self, name: str, which: str, total: int, **tags: str) -> None:
        self._add(name, total - self._told[name, which], **tags)
        self._told[name, which] = total

    def _add(self, name: str, value: float, **tags: str) -> None:
        if value > 0:  # Ray's counters take nothing else
            self._grown[name, tuple(tags.items())] += value  # type: ignore[assignment]  # a Counter adds floats as well
