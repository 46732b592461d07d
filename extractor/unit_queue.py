"""Which unit is next, and when one is given up: the bookkeeping that both executors share."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from extractor.plan import Unit

MAX_FAILURES = 3


@dataclass(frozen=True)
class Attempt:
    """The number-th (from 1) try at a unit, after `failures` that were its own."""

    unit: Unit
    number: int = 1
    failures: int = 0


@dataclass(frozen=True)
class LostUnit:
    """A unit that failed MAX_FAILURES times. Its items stay pending."""

    unit: Unit
    message: str


class UnitQueue:
    """Hands out attempts in plan order; a failed one comes back, after the others, until it has failed too often."""

    def __init__(self, units: Iterable[Unit]) -> None:
        self._waiting = deque(Attempt(unit) for unit in units)

    def take(self) -> Attempt | None:
        return self._waiting.popleft() if self._waiting else None

    def failed(self, attempt: Attempt, message: str) -> LostUnit | None:
        """Queue the next attempt and return None, or return the lost unit if there is none left."""
        if attempt.failures + 1 >= MAX_FAILURES:
            return LostUnit(attempt.unit, message)
        self._waiting.append(replace(attempt, number=attempt.number + 1, failures=attempt.failures + 1))
        return None

    def put_back(self, attempt: Attempt) -> None:
        """Queue it again, first, as a new attempt but no failure: its worker died before or beside it."""
        self._waiting.appendleft(replace(attempt, number=attempt.number + 1))
