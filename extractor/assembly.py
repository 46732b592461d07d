"""Before there are units: workers are started and asked, all at once, and one that dies meanwhile is replaced."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from extractor.crew import MAX_STARTS, Crew
from extractor.dispatch import SECONDS_BETWEEN_NOTES, CallError, DiedError, Processes
from extractor.executor import CHECK_SECONDS
from extractor.interval import Interval
from extractor.job import WorkerInfo
from extractor.sharing import Place
from extractor.slot import Slot
from storage.errors import PermafrostError, RunError

logger = logging.getLogger(__name__)

Ask = Callable[[Any], Any]  # from an actor to the reference of its answer


class Assembly:
    """`restart`: puts another actor, which builds its backbone, into a slot."""

    def __init__(self, processes: Processes, crew: Crew, restart: Callable[[Slot], None]) -> None:
        self._processes, self._crew, self._restart = processes, crew, restart

    def await_places(self, want_node: Callable[[bool], None]) -> list[Place]:
        """Places on the nodes that are there. want_node: told True where none may have workers, so that one may be brought; then False."""
        note, wanted = Interval(SECONDS_BETWEEN_NOTES), False
        while not (places := self._crew.first_places(self._processes.nodes())):
            if not wanted:
                want_node(True)
                wanted = True
            if note.passed():
                logger.warning("waiting for the cluster to have a node with CPUs or GPUs")
            time.sleep(CHECK_SECONDS)
        if wanted:
            want_node(False)
        return places

    def ask_infos(self, ask: Ask) -> list[WorkerInfo]:
        """The answers of all workers, whose cautions are logged."""
        infos: list[WorkerInfo] = self.ask(ask)
        for caution in sorted({caution for info in infos for caution in info.cautions}):
            logger.warning(caution)
        return infos

    def ask_one(self, ask: Ask) -> Any:
        """The answer of the first worker whose node stays. Raises RunError where none does."""
        while first := self._crew.slots[:1]:
            for answer in self.ask(ask, first):
                return answer
        raise RunError("all nodes with workers were lost before there was work; run the same command again")

    def ask(self, ask: Ask, slots: Sequence[Slot] | None = None) -> list[Any]:
        """The answers of all workers, or those of `slots`. Those whose node is gone answer nothing and are dropped.

        A busy cluster lets actors wait without a word, or its autoscaler brings nodes first: so it is said every minute.
        """
        asked = {ask(slot.actor): slot for slot in slots or self._crew.slots}
        note, missing = Interval(SECONDS_BETWEEN_NOTES), list(asked)
        while missing:
            for reference in self._processes.wait(missing, SECONDS_BETWEEN_NOTES):
                missing.remove(reference)
            if missing and note.passed():
                logger.warning("waiting for the cluster to start %d of %d workers", len(missing), len(asked))
        answers = []
        for reference, slot in asked.items():
            try:
                answers.append(self._answer(slot, reference, ask))
            except DiedError:
                logger.warning("node %s left the cluster before its worker had work", slot.place.node.address)
                self._crew.slots.remove(slot)
        return answers

    def _answer(self, slot: Slot, reference: Any, ask: Ask) -> Any:
        """Raises DiedError if its node is gone."""
        for tries in range(1, MAX_STARTS + 2):
            try:
                return self._processes.result(reference)
            except CallError as error:
                raise (error.cause if isinstance(error.cause, PermafrostError) else RunError(f"a Ray worker failed: {error}")) from None
            except DiedError as death:
                if slot.place.node.id not in {node.id for node in self._processes.nodes()}:
                    raise
                if tries > MAX_STARTS:
                    raise RunError(
                        f"a Ray worker could not start or died: {death}. Is this version of permafrost installed on every node, and is "
                        "there memory for all workers?"
                    ) from None
            logger.warning("a worker died before it had work, and is replaced")
            self._restart(slot)
            reference = ask(slot.actor)
        raise AssertionError("unreachable")
