"""Units overlap in one worker: while one is published, the next one is embedded, and the one after it is read and decoded."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

UNITS_AT_ONCE = 3  # of a worker: with two, the next one could not be read until the one before the last is published


class Turns:
    """Of one worker. In the order in which units come, one at a time decodes, and one at a time embeds.

    The seconds of all units together are those of one forward thread, each booked once: while one unit embeds or waits for its images,
    what another one publishes costs nothing more; what is published while none does is what the network has waited for.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._decoding: list[Turn] = []  # the first has the turn, in both
        self._embedding: list[Turn] = []
        self._publishing: list[Turn] = []
        self._booked = 0.0  # until when, by `clock`

    @contextmanager
    def take(self) -> Iterator[Turn]:
        """Stand in line with a unit; whatever becomes of it, the others have their turns."""
        turn = Turn(self)
        with self._changed:
            if not self._embedding:
                self._book(turn, "publish" if self._publishing else "")
            self._decoding.append(turn)
            self._embedding.append(turn)
        try:
            yield turn
        finally:
            with self._changed:
                if self._embedding[:1] == [turn]:  # it failed: its time is nobody's
                    self._book(turn, "")
            for queue in (self._decoding, self._embedding, self._publishing):
                self._leave(queue, turn)

    def _await(self, queue: list[Turn], turn: Turn) -> None:
        with self._changed:
            self._changed.wait_for(lambda: queue[0] is turn)

    def _leave(self, queue: list[Turn], turn: Turn) -> None:
        with self._changed:
            if turn in queue:
                queue.remove(turn)
                self._changed.notify_all()

    def _book(self, turn: Turn, stage: str) -> None:
        now = self._clock()
        if stage:
            turn.seconds[stage] += now - self._booked  # type: ignore[assignment]  # a Counter adds floats as well
        self._booked = now


class Turn:
    """Of one unit: it calls these in this order, `lap` any number of times. `seconds`: of the forward thread, by stage."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.seconds: Counter[str] = Counter()

    def await_decoding(self) -> None:
        self._turns._await(self._turns._decoding, self)

    def decoded(self) -> None:
        """Its last image is with the decoder: the next unit may read and decode."""
        self._turns._leave(self._turns._decoding, self)

    def await_embedding(self) -> None:
        self._turns._await(self._turns._embedding, self)

    def lap(self, stage: str) -> None:
        """Book what has passed since anybody's last lap. Only while it has the turn to embed."""
        with self._turns._changed:
            self._turns._book(self, stage)

    def embedded(self) -> None:
        """The next unit may embed; what is left is to publish."""
        with self._turns._changed:
            self._turns._publishing.append(self)
        self._turns._leave(self._turns._embedding, self)

    def published(self) -> None:
        with self._turns._changed:
            if not self._turns._embedding:
                self._turns._book(self, "publish")
        self._turns._leave(self._turns._publishing, self)
