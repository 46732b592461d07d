"""Which unit is next, when a failed one is split, and when the run is hopeless: the bookkeeping that both executors share."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from operator import length_hint

from extractor.plan import Unit, halves, planned_id
from storage.errors import RunError

MAX_FAILURES = 3  # of a unit as it was planned, and of any unit for which the storage is to blame
PART_FAILURES, LONE_FAILURES = 1, 2  # of a part of a split unit: one of several items is split on, a lone item tried once more
SAME_EVERYWHERE = 3  # planned units that fail with one message while none is finished: the images are not to blame
MAX_IN_A_ROW = 20  # failures with no unit finished in between; a poison image causes 4, a few side by side some more
_VARYING = re.compile(r"[0-9a-f]*\d[0-9a-f]*")  # process ids, addresses, random names


class Fault(Enum):
    """What a failure says of the unit."""

    BROKE = "an exception, which an image may have caused"
    DIED = "the worker died, which an image may have caused, or whoever kills processes"
    HUNG = "no end within the deadline: another try would take as long, so there is none"
    STORAGE = "files could not be written, whatever the images are"


@dataclass(frozen=True)
class Attempt:
    """The number-th (from 1) try at a unit, after `failures` that were its own. suspect: its worker died or hung while it was at hand."""

    unit: Unit
    number: int = 1
    failures: int = 0
    suspect: bool = False

    @property
    def alone(self) -> bool:
        """Whether its worker is to have no other unit meanwhile, so that it is known who kills it."""
        return self.suspect or self.unit.id != planned_id(self.unit)


@dataclass(frozen=True)
class LostUnit:
    """A unit that failed MAX_FAILURES times for want of storage. Its items stay pending."""

    unit: Unit
    message: str


@dataclass(frozen=True)
class Poison:
    """A unit of one item that failed each time, while others did not: the item is to blame."""

    unit: Unit
    message: str
    fault: Fault


class UnitQueue:
    """Hands out attempts in plan order; a failed one comes back, after the others, and in halves if it has failed too often.

    Breadth first: the sound half of a split unit is finished, and so speaks for the workers, before the other one is split on.
    Not thread-safe.
    """

    def __init__(self, units: Iterable[Unit], workers: Callable[[], int] = lambda: 0) -> None:
        """units: taken one by one, when there is a worker for it. Should know how many they are. workers: that may die all at once."""
        self._workers = workers
        self._planned_left = length_hint(units)
        self._put_back: deque[Attempt] = deque()
        self._planned = map(Attempt, units)
        self._next = next(self._planned, None)  # of the planned ones
        self._again: deque[Attempt] = deque()
        self._under_way = 0
        self._closed = False
        self._any_finished = False
        self._in_a_row = 0
        self._failed_alike: defaultdict[str, set[str]] = defaultdict(set)
        self._suspects: list[Poison] = []

    def take(self) -> Attempt | None:
        if self._closed or not self._has_waiting:
            return None
        self._under_way += 1
        if self._put_back:
            return self._put_back.popleft()
        if self._next is None:
            return self._again.popleft()
        taken, self._next = self._next, next(self._planned, None)
        self._planned_left -= 1
        return taken

    def take_beside(self, workers: int) -> Attempt | None:
        """For a worker that has a unit at hand: only what may run beside it.

        The last units, one for each worker, are for whoever is free first: in a slow worker's hands they would keep the others waiting.
        """
        upcoming = self._put_back[0] if self._put_back else self._next or (self._again[0] if self._again else None)
        is_kept_back = workers > 1 and self.waiting <= workers
        return self.take() if upcoming and not upcoming.alone and not is_kept_back else None

    def close(self) -> None:
        """Hand out nothing more."""
        self._closed = True

    @property
    def waiting(self) -> int:
        """Attempts that nobody has taken, as far as is known now."""
        return len(self._put_back) + max(0, self._planned_left) + len(self._again)

    @property
    def done(self) -> bool:
        return not self._under_way and (self._closed or not self._has_waiting)

    @property
    def _has_waiting(self) -> bool:
        return bool(self._put_back or self._next or self._again)

    def finished(self) -> list[Poison]:
        """A unit is finished. Returns the items that were suspected until the workers had proved to be sound."""
        self._under_way -= 1
        self._any_finished, self._in_a_row = True, 0
        return self._verdicts()

    def failed(self, attempt: Attempt, message: str, fault: Fault = Fault.BROKE) -> list[LostUnit | Poison]:
        """Queue the next attempt, or both halves; returns what is given up. Raises RunError if nothing gives hope for the others."""
        self._under_way -= 1
        self._require_hope(attempt, message, fault)
        is_suspect = attempt.suspect or fault in (Fault.DIED, Fault.HUNG)
        again = replace(attempt, number=attempt.number + 1, failures=attempt.failures + 1, suspect=is_suspect)
        if again.failures < _tries(attempt.unit, fault):
            self._again.append(again)
        elif fault is Fault.STORAGE:
            return [LostUnit(attempt.unit, message), *self._verdicts()]
        elif len(attempt.unit.items) > 1:
            self._again.extend(Attempt(part) for part in halves(attempt.unit))
        else:
            self._suspects.append(Poison(attempt.unit, message, fault))
        return list(self._verdicts())

    def put_back(self, attempt: Attempt, suspect: bool = False) -> None:
        """Queue it again, first, as a new attempt but no failure. suspect: it, or what its worker had beside it, has killed that."""
        self._under_way -= 1
        self._put_back.appendleft(replace(attempt, number=attempt.number + 1, suspect=attempt.suspect or suspect))

    def _verdicts(self) -> list[Poison]:
        """Suspects are condemned once another unit was finished. Where none is, a lone one is, and several alike end the run."""
        if not self._any_finished and (self._under_way or self._has_waiting):
            return []
        condemned, self._suspects = self._suspects, []
        messages = {_without_varying(suspect.message) for suspect in condemned}
        if not self._any_finished and len(condemned) > 1 and len(messages) == 1:
            raise RunError(f"none of the {len(condemned)} images could be embedded; each failed with: {condemned[0].message}")
        return condemned

    def _require_hope(self, attempt: Attempt, message: str, fault: Fault) -> None:
        self._in_a_row += 1
        alike = self._failed_alike[_without_varying(message)]
        alike.add(planned_id(attempt.unit))
        # All workers may die at once, with their machines, before any unit is finished, and that says nothing of the units. When six such
        # units were enough, a campaign of 200 kills ended at the 188th.
        at_once = self._workers() if fault is Fault.DIED else 0
        enough = SAME_EVERYWHERE if fault is not Fault.DIED else 2 * SAME_EVERYWHERE + at_once
        kept = "What was finished is kept; mend the cause and run the same command again"
        if not self._any_finished and len(alike) >= enough:
            raise RunError(f"the first {len(alike)} units all failed in the same way, and none was finished: {message}. {kept}")
        if self._in_a_row > MAX_IN_A_ROW + at_once:
            raise RunError(f"{self._in_a_row} failures in a row, with no unit finished in between. The last one: {message}. {kept}")


def _tries(unit: Unit, fault: Fault) -> int:
    if fault is Fault.STORAGE:
        return MAX_FAILURES
    if fault is Fault.HUNG:
        return 1
    if unit.id == planned_id(unit):
        return MAX_FAILURES
    return PART_FAILURES if len(unit.items) > 1 else LONE_FAILURES


def _without_varying(message: str) -> str:
    return _VARYING.sub("#", message)
