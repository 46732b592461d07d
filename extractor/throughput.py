"""How a run's work went over time, and which worker did how much: bounded, however many units there are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

from extractor.receipt import Receipt

MAX_POINTS = 500  # kept; twice as many are thinned to every second one


@dataclass(frozen=True)
class Point:
    """Sums when a unit was finished, `seconds` after work began."""

    seconds: float
    items: int
    images: int  # embedded
    bytes: int  # read


class Throughput:
    """Fed by the driver with each receipt. `clock` gives seconds; it is read from another thread too, which may lag by one unit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._every, self._units = 1, 0
        self.total = 0  # items to do
        self.points = [Point(0.0, 0, 0, 0)]
        self.latest = self.points[0]
        self.workers: dict[str, Counter[str]] = {}

    def begin(self, total: int) -> None:
        """Work on `total` more items begins. Where work began before, time goes on."""
        if not self._units:
            self._started = self._clock()
        self.total = self.latest.items + total

    def add(self, receipt: Receipt) -> None:
        items, images, size = receipt.items.num_rows, receipt.counters["embedded"], receipt.counters["bytes_read"]
        last, now = self.latest, self._clock() - self._started
        self.latest = Point(now, last.items + items, last.images + images, last.bytes + size)
        self.workers.setdefault(receipt.worker, Counter()).update(units=1, items=items, images=images, bytes=size)
        self._units += 1
        if self._units % self._every == 0:
            self.points.append(self.latest)
        if len(self.points) > 2 * MAX_POINTS:
            self.points = self.points[::2]  # keeps the first: the curve begins at zero
            self._every *= 2

    def now(self) -> dict[str, Any]:
        """Where the work stands: for signs of life."""
        latest = self.latest
        return {"total": self.total, "done": min(latest.items, self.total), "embedded": latest.images, "bytes_read": latest.bytes,
                "work_seconds": round(self._clock() - self._started, 3)}  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Points as rows [seconds since work began, items done, images embedded, bytes read], and each worker's share."""
        points = self.points if self.points[-1] is self.latest else [*self.points, self.latest]
        return {
            "columns": ["seconds", "items", "images", "bytes"],
            "points": [[round(point.seconds, 3), *astuple(point)[1:]] for point in points],
            "workers": {name: dict(done) for name, done in sorted(self.workers.items())},
        }
