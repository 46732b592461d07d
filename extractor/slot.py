"""One worker in a process of its own, as the driver sees it: what it has been sent, and since when it is at work on the oldest of that."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from extractor.sharing import Place
from extractor.unit_queue import Attempt


@dataclass(eq=False)
class Slot:
    """An actor at its place and its calls under way, by the executor's references to them, oldest first. None: its own setting up."""

    place: Place
    actor: Any
    ready: bool = False  # it has passed all checks and may have units
    joins: bool = False  # it was not there at the start, and has not been ready before
    failed_starts: int = 0  # in a row
    sent: dict[Any, Attempt | None] = field(default_factory=dict)
    since: float = 0.0  # by `clock`, when the oldest of `sent` became the oldest
    clock: Callable[[], float] = time.monotonic

    @property
    def head(self) -> Attempt | None:
        """The oldest unit that it is at work on; None where it has none, or is being set up."""
        return next(iter(self.sent.values()), None)

    @property
    def units(self) -> list[Attempt]:
        """The units that it has at hand."""
        return [attempt for attempt in self.sent.values() if attempt]

    @property
    def seconds(self) -> float:
        """How long its oldest call has been the oldest."""
        return self.clock() - self.since

    def send(self, reference: Any, attempt: Attempt) -> None:
        if not self.sent:
            self.since = self.clock()
        self.sent[reference] = attempt

    def take_off(self, reference: Any) -> Attempt | None:
        """A call has ended."""
        if reference == next(iter(self.sent)):
            self.since = self.clock()
        return self.sent.pop(reference)

    def keep_head(self) -> list[Attempt]:
        """Leave it only its oldest unit; returns the others."""
        others = self.units[1:] if self.head else self.units
        self.sent = dict(list(self.sent.items())[:1]) if self.head else {}
        return others
