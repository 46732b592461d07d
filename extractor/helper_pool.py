"""A worker's decode helpers: threads that take chunks of its units to them, and how much may be under way. Imports no TensorFlow."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from extractor.decode_helper import Helper, HelperLostError
from extractor.shared_unit import Loan

LANES = 2  # chunks that one worker has at one helper: it decodes one while the other is claimed, or is on its way
IN_FLIGHT_BYTES = 128 << 20  # decoded images of one worker that are made, on their way, or waiting for its engine
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds until a lost helper is asked again


class Helped(Protocol):
    """A unit under way. Called with the pool's lock but for `work_on`."""

    def next_bytes(self) -> int | None:
        """Of the decoded images of the chunk that may be lent next; None if there is none."""
        ...

    def lend(self) -> Loan: ...

    def work_on(self, loan: Loan, helper: Helper) -> None:
        """The bytes of what it makes are given back to the pool when they are used, or dropped. Raises HelperLostError."""
        ...


class HelperPool:
    """`changed`: the lock of all that the lanes and the units share. Closed, its threads end."""

    def __init__(self, helpers: Sequence[Helper], in_flight_bytes: int = IN_FLIGHT_BYTES) -> None:
        self.changed = threading.Condition()
        self.in_flight = 0
        self.in_flight_bytes = in_flight_bytes
        self._units: list[Helped] = []  # in the order in which they began
        self._closed = False
        for helper in helpers:
            for _ in range(LANES):
                threading.Thread(target=self._serve, args=(helper,), name="permafrost-helper", daemon=True).start()

    def enlist(self, unit: Helped) -> None:
        with self.changed:
            self._units.append(unit)
            self.changed.notify_all()

    def dismiss(self, unit: Helped) -> None:
        with self.changed:
            self._units.remove(unit)

    def give_room(self, amount: int) -> None:
        with self.changed:
            self.in_flight -= amount
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    def _serve(self, helper: Helper) -> None:
        pause = FIRST_PAUSE
        while not self._closed:
            try:
                helper.prepare()
                while found := self._next():
                    unit, loan = found
                    unit.work_on(loan, helper)
                    pause = FIRST_PAUSE
            except HelperLostError as loss:
                if loss.for_good:
                    return
                with self.changed:
                    self.changed.wait_for(lambda: self._closed, pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _next(self) -> tuple[Helped, Loan] | None:
        """The next chunk for which there is room; None once the pool is closed."""
        with self.changed:
            while not self._closed:
                for unit in self._units:
                    wanted = unit.next_bytes()
                    if wanted is not None and (self.in_flight + wanted <= self.in_flight_bytes or not self.in_flight):
                        self.in_flight += wanted
                        return unit, unit.lend()
                self.changed.wait()
        return None
