"""What is done every so often by a loop that also does other things."""

from __future__ import annotations

import time
from collections.abc import Callable


class Interval:
    """Of so many seconds; the first one begins now."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._began = clock()

    def passed(self) -> bool:
        """Whether it is over; the next one begins then."""
        if self._clock() - self._began < self._seconds:
            return False
        self.begin()
        return True

    def begin(self) -> None:
        """Begin anew."""
        self._began = self._clock()
