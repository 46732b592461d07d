"""Hands units to workers in other processes and lives with whatever becomes of those: death, hanging, nodes that join and leave.

Knows nothing of Ray: `Processes` is what it needs of whoever starts, calls and kills them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from extractor.crew import Crew, Fate
from extractor.deadline import Deadline
from extractor.executor import CHECK_SECONDS
from extractor.interval import Interval
from extractor.job import Job, WorkerInfo
from extractor.plan import Unit
from extractor.receipt import Receipt
from extractor.settlement import Settlement
from extractor.sharing import Node
from extractor.slot import Slot
from extractor.turns import UNITS_AT_ONCE
from extractor.unit_queue import Attempt, Fault, LostUnit, UnitQueue
from storage.errors import PermafrostError, RunError

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 5.0  # at the nodes; one takes a millisecond
SECONDS_BETWEEN_NOTES = 60.0


class DiedError(Exception):
    """The process that a call went to is dead, or its node is. innocent: it was told to go, or its machine went."""

    def __init__(self, message: str, innocent: bool) -> None:
        super().__init__(message)
        self.innocent = innocent


class CallError(Exception):
    """A call raised `cause`; the process lives."""

    def __init__(self, message: str, cause: BaseException | None) -> None:
        super().__init__(message)
        self.cause = cause


class Processes(Protocol):
    """Calls are known by opaque references. A process is at work on UNITS_AT_ONCE of them, in the order in which they were made."""

    def nodes(self) -> list[Node]:
        """Those that are there now."""
        ...

    def set_up(self, slot: Slot) -> Any:
        """Start a process at the slot's place, which is to pass all checks; the call gives its WorkerInfo."""
        ...

    def work(self, slot: Slot, attempt: Attempt) -> Any:
        """The call gives a Receipt."""
        ...

    def wait(self, references: Sequence[Any], seconds: float) -> list[Any]:
        """One that has ended, or none after so many seconds."""
        ...

    def result(self, reference: Any) -> Any:
        """Of a call that has ended. Raises DiedError, CallError."""
        ...

    def kill(self, slot: Slot) -> None: ...

    def release(self, unit: str) -> None:
        """Give up a unit's claims."""
        ...


class Dispatcher:
    """Of one run, whose units come in rounds."""

    def __init__(self, processes: Processes, crew: Crew, deadline: Deadline) -> None:
        self._processes, self._crew, self._deadline = processes, crew, deadline
        self._waiting = UnitQueue([])
        self._draining = False
        self.failures: Counter[Fault] = Counter()  # attempts that were the unit's own

    def run(self, job: Job, units: Iterable[Unit], check: Callable[[], None]) -> Iterator[Receipt | LostUnit]:
        """See Executor.run."""
        self._waiting, self._draining = UnitQueue(units, lambda: len(self._crew.slots)), False
        self._settlement = Settlement(self._waiting, job, self._processes.release)
        look, note, hung = Interval(SECONDS_BETWEEN_LOOKS), Interval(SECONDS_BETWEEN_NOTES), Interval(CHECK_SECONDS)
        while not self._waiting.done:
            if look.passed():
                self._take_up_places()
            self._fill()
            if self._crew.ready:
                note.begin()
            elif note.passed():
                logger.warning("no worker is left: waiting for the cluster (%d are being started)", len(self._crew.slots))
            owners = {reference: slot for slot in self._crew.slots for reference in slot.sent}
            finished = self._processes.wait(list(owners), CHECK_SECONDS)
            if not finished:
                check()
            for reference in finished:
                yield from self._settle(owners[reference], reference)
            if hung.passed():
                for slot in self._crew.ready:
                    yield from self._end_if_hung(slot)

    def drain(self) -> None:
        self._waiting.close()
        self._draining = True

    def _take_up_places(self) -> None:
        """New workers for places that are free."""
        if not self._draining:
            for place in self._crew.missing(self._processes.nodes()):
                slot = Slot(place, None, joins=True)
                self._crew.slots.append(slot)
                self._set_up(slot)

    def _fill(self) -> None:
        """Top up: first one unit for every worker, then the second, then the third. When draining, leave each only its oldest one."""
        if self._draining:
            for slot in self._crew.slots:
                for given_back in slot.keep_head():
                    self._waiting.put_back(given_back)
            return
        ready = self._crew.ready
        for depth in range(1, UNITS_AT_ONCE + 1):
            for slot in ready:
                if len(slot.sent) < depth and (attempt := self._next_for(slot, len(ready))):
                    slot.send(self._processes.work(slot, attempt), attempt)

    def _next_for(self, slot: Slot, workers: int) -> Attempt | None:
        if slot.head is None:
            return self._waiting.take()
        return None if slot.head.alone else self._waiting.take_beside(workers)

    def _settle(self, slot: Slot, reference: Any) -> Iterator[Receipt | LostUnit]:
        try:
            result = self._processes.result(reference)
        except DiedError as death:
            yield from self._after_death(slot, str(death), Fault.DIED, death.innocent)
        except CallError as error:
            yield from self._after_error(slot, slot.take_off(reference), error)
        else:
            seconds = slot.seconds
            if slot.take_off(reference):
                self._crew.unit_finished()
                self._deadline.finished(seconds)
                yield from self._settlement.finished(result)
            else:
                self._welcome(slot, result)

    def _after_error(self, slot: Slot, attempt: Attempt | None, error: CallError) -> Iterator[Receipt | LostUnit]:
        meant_for_people = error.cause if isinstance(error.cause, PermafrostError) else None
        if attempt is None:
            self._give_up(slot, meant_for_people or RunError(f"a new worker could not be set up: {error}"))
        elif meant_for_people:
            raise meant_for_people from None
        else:
            yield from self._failed(attempt, str(error), Fault.STORAGE if isinstance(error.cause, OSError) else Fault.BROKE)

    def _end_if_hung(self, slot: Slot) -> Iterator[Receipt | LostUnit]:
        limit = self._deadline.seconds
        if slot.head and slot.seconds > limit:
            self._processes.kill(slot)
            yield from self._after_death(slot, f"no end within {limit:g} s (--unit-deadline)", Fault.HUNG)

    def _after_death(self, slot: Slot, message: str, fault: Fault, innocent: bool = False) -> Iterator[Receipt | LostUnit]:
        lost, end, where = slot.units, "hung" if fault is Fault.HUNG else "died", slot.place.node.address
        match self._crew.fate_of(slot, self._processes.nodes(), message):
            case Fate.REPLACED:
                logger.warning("a worker on %s %s and is replaced", where, end)
                self._set_up(slot)
            case Fate.LEFT:
                logger.warning("node %s has left the cluster; its work goes to the others", where)
                self._crew.slots.remove(slot)
            case Fate.USELESS:
                self._give_up(slot, RunError(f"it {end} again and again before it had work: {message}"))
        # Of several units it is not known which one has killed it: none is blamed, and each is tried again alone. So only a unit that was
        # alone is ever blamed.
        if len(lost) == 1 and not innocent:
            yield from self._failed(lost[0], message, fault)
        else:
            yield from self._settlement.put_back(lost, suspect=not innocent)

    def _failed(self, attempt: Attempt, message: str, fault: Fault) -> Iterator[Receipt | LostUnit]:
        self.failures[fault] += 1
        return self._settlement.failed(attempt, message, fault)

    def _set_up(self, slot: Slot) -> None:
        slot.ready = False
        slot.sent = {self._processes.set_up(slot): None}

    def _welcome(self, slot: Slot, info: WorkerInfo) -> None:
        for caution in info.cautions:
            logger.warning(caution)
        self._crew.welcome(slot)

    def _give_up(self, slot: Slot, error: PermafrostError) -> None:
        self._processes.kill(slot)
        self._crew.give_up(slot, error)
        logger.warning("a worker on %s is not used: %s", slot.place.node.address, error)
