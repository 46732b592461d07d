"""What becomes of units that were finished or failed: receipts for whoever accounts for them, and more attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from extractor.job import Job
from extractor.poison import condemn, found_receipt
from extractor.receipt import Receipt
from extractor.unit_queue import Attempt, Fault, LostUnit, Poison, UnitQueue


class Settlement:
    """Between the queue of units and those who wait for results. `release`: gives up a unit's claims."""

    def __init__(self, waiting: UnitQueue, job: Job, release: Callable[[str], None]) -> None:
        self._waiting, self._job, self._release = waiting, job, release

    def finished(self, receipt: Receipt) -> Iterator[Receipt]:
        yield receipt
        for poison in self._waiting.finished():
            yield condemn(poison, self._job)

    def put_back(self, attempts: Sequence[Attempt], suspect: bool) -> Iterator[Receipt]:
        """Their worker is lost; whoever of them had finished its work has a receipt on disk. suspect: see `UnitQueue.put_back`."""
        for attempt in reversed(attempts):  # the last goes back first: so the order stays
            if receipt := found_receipt(attempt.unit.id, self._job):
                yield from self.finished(receipt)
            else:
                self._waiting.put_back(attempt, suspect)

    def failed(self, attempt: Attempt, message: str, fault: Fault) -> Iterator[Receipt | LostUnit]:
        """A call that failed may have finished its work: its receipt on disk says so."""
        if receipt := found_receipt(attempt.unit.id, self._job):
            yield from self.finished(receipt)
            return
        for given_up in self._waiting.failed(attempt, message, fault):
            if isinstance(given_up, Poison):
                yield condemn(given_up, self._job)
            else:
                self._release(given_up.unit.id)
                yield given_up
