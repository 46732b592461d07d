"""One worker in a process of its own, as the driver sees it: what it has been sent, and since when it is at work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from extractor.unit_queue import Attempt


@dataclass
class Slot:
    """An actor and its calls under way, by the executor's references to them, oldest first. None: its own setting up, after a death."""

    actor: Any
    sent: dict[Any, Attempt | None] = field(default_factory=dict)
    since: float = 0.0  # by `clock`, when the oldest of `sent` became the oldest
    clock: Callable[[], float] = time.monotonic

    @property
    def head(self) -> Attempt | None:
        """The unit that it is at work on; None where it has none, or is being set up."""
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
        self.since = self.clock()
        return self.sent.pop(reference)

    def keep_head(self) -> None:
        """Leave it only the unit that it is at work on."""
        self.sent = dict(list(self.sent.items())[:1]) if self.head else {}
