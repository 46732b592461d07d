"""How a run's work went over time, and which worker did how much: bounded, however many units there are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from extractor.receipt import Receipt
from extractor.stages import FORWARD, STAGES

MAX_POINTS = 500  # kept; of twice as many every second one goes


@dataclass(frozen=True)
class Point:
    """Sums when a unit was finished, `seconds` after work began."""

    seconds: float
    items: int
    images: int  # embedded
    bytes: int  # read
    since: float = 0.0  # when work on what this point adds to the one before it began


class Throughput:
    """Fed by the driver with each receipt. `clock` gives seconds; it is read from another thread too, which may lag by one unit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self.total = 0  # items to do
        self.points = [Point(0.0, 0, 0, 0)]
        self.latest = self.points[0]
        self.workers: dict[str, Counter[str]] = {}
        self._embedded: Counter[int] = Counter()  # images of each set, by its number

    def begin(self, total: int) -> None:
        """Work on `total` more items begins. Where work began before, time goes on."""
        if len(self.points) == 1:
            self._started = self._clock()
        self.total = self.latest.items + total

    def add(self, receipt: Receipt) -> None:
        items, size = receipt.items.num_rows, receipt.counters["bytes_read"]
        of_sets = {number: of_set.counters["embedded"] for number, of_set in enumerate(receipt.all_sets)}
        self._embedded.update(of_sets)
        images = sum(of_sets.values())
        took = sum(receipt.seconds.get(name, 0.0) for name, stage in STAGES.items() if stage.thread == FORWARD)
        last, now = self.latest, self._clock() - self._started
        self.latest = Point(now, last.items + items, last.images + images, last.bytes + size, max(0.0, now - took))
        self.points.append(self.latest)
        self.workers.setdefault(receipt.worker, Counter()).update(units=1, items=items, images=images, bytes=size)
        if len(self.points) > 2 * MAX_POINTS:
            pairs = list(pairwise(self.points))[1::2]  # an odd number of points: the first and the last stay
            self.points = [self.points[0], *[replace(b, since=min(a.since, b.since)) for a, b in pairs]]

    def now(self, number: int = 0) -> dict[str, Any]:
        """Where the work stands, for signs of life in one of the sets: files of all sets, images of that one."""
        latest = self.latest
        return {"total": self.total, "done": min(latest.items, self.total), "embedded": self._embedded[number], "bytes_read": latest.bytes,
                "work_seconds": round(self._clock() - self._started, 3)}  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Points as rows of `columns`, seconds since work began, and each worker's share."""
        return {
            "columns": ["seconds", "items", "images", "bytes", "since"],
            "points": [[round(p.seconds, 3), p.items, p.images, p.bytes, round(p.since, 3)] for p in self.points],
            "workers": {name: dict(done) for name, done in sorted(self.workers.items())},
        }
