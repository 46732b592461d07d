"""CPU seconds of a process and all that it starts, at any moment of its life, from what /proc says of each."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np

from scripts.process_tree import descendants

SAMPLE_SECONDS = 0.2  # a look costs 2 ms; of a process that ends, what it did since the last one is not seen


class TreeCpu:
    """Samples until `stop`. Ray's workers end before their driver, and their seconds still count."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._of_each: dict[int, float] = {}
        self._samples: list[tuple[float, float]] = [(time.monotonic(), 0.0)]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def between(self, began: float, ended: float) -> float:
        """CPU seconds from one time of `time.monotonic()` to another."""
        times, seconds = zip(*self._samples, strict=True)
        return float(np.interp(ended, times, seconds) - np.interp(began, times, seconds))

    @property
    def total(self) -> float:
        return self._samples[-1][1]

    def processes(self) -> list[int]:
        return [self._pid, *descendants(self._pid)]

    def _watch(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            for pid in self.processes():
                self._of_each[pid] = max(self._of_each.get(pid, 0.0), _cpu_seconds(pid))
            self._samples.append((time.monotonic(), sum(self._of_each.values())))


def _cpu_seconds(pid: int) -> float:
    """Without those of children; 0.0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
