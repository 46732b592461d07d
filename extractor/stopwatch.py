"""Where one thread's time goes: laps by the name of the stage that just ended."""

from __future__ import annotations

import time
from collections import Counter


class Stopwatch:
    """Wall-clock seconds of one thread by stage; the stages add up to the time since it was made. Not thread-safe: one a thread."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._started = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Book the time since the last lap on `stage`."""
        now = time.perf_counter()
        self.seconds[stage] += now - self._last  # type: ignore[assignment]  # a Counter adds floats as well
        self._last = now

    @property
    def total(self) -> float:
        return time.perf_counter() - self._started
