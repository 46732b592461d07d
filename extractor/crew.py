"""The workers of a run: where each has its place, who is missing, and what becomes of a place whose worker died. Starts no process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from extractor.sharing import Node, Place, Sharing
from extractor.slot import Slot
from extractor.unit_queue import MAX_IN_A_ROW
from storage.errors import PermafrostError, RunError

MAX_STARTS = 3  # of one worker before it has work


class Fate(Enum):
    """What becomes of the place of a worker that died."""

    REPLACED = "another worker has it"
    LEFT = "its node is gone, and so is the place"
    USELESS = "workers die there before they have work, and others do not"


@dataclass
class Turnover:
    """Workers that came and went in the middle of a run."""

    replaced: int = 0  # died, and had others in their place
    joined: int = 0
    left: int = 0  # with their nodes


class Crew:
    """`wanted`: workers; None for as many as there is room for, on nodes that join as well."""

    def __init__(self, wanted: int | None = None) -> None:
        self.slots: list[Slot] = []
        self.turnover = Turnover()
        self._wanted = wanted
        self._sharing = Sharing.among([], wanted)
        self._useless: Counter[str] = Counter()  # places by node id
        self._deaths = 0  # in a row, with no unit finished in between

    @property
    def ready(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.ready]

    def first_places(self, nodes: Sequence[Node]) -> list[Place]:
        """Settle how the nodes are shared, by what is there now."""
        self._sharing = Sharing.among(nodes, self._wanted)
        return self.missing(nodes)

    def missing(self, nodes: Sequence[Node]) -> list[Place]:
        """Places that are free: on nodes that joined, or in the stead of lost ones."""
        return self._sharing.missing(nodes, Counter(slot.place.node.id for slot in self.slots) + self._useless)

    def unit_finished(self) -> None:
        self._deaths = 0

    def welcome(self, slot: Slot) -> None:
        """It has passed all checks."""
        self.turnover.joined += slot.joins
        slot.ready, slot.joins, slot.failed_starts = True, False, 0

    def fate_of(self, slot: Slot, nodes: Sequence[Node], message: str) -> Fate:
        """A worker died. Raises RunError if nothing gives hope for another one.

        nodes: those that are there. A lost one is among them at first, and a worker on it dies once more when it no longer is.
        """
        # One that dies while it is set up says nothing against a run in which others work.
        self._deaths += slot.ready or not self.ready
        if self._deaths > MAX_IN_A_ROW + len(self.slots):  # all may die at once, with their machines
            raise RunError(
                f"{self._deaths} workers died in a row ({message}). Not enough memory is the usual cause: try fewer "
                "--workers. What was finished is kept; run the same command again to go on"
            )
        slot.failed_starts += not slot.ready
        if slot.place.node.id not in {node.id for node in nodes}:
            self.turnover.left += not slot.joins
            return Fate.LEFT
        if slot.failed_starts >= MAX_STARTS and len(self.slots) > 1:
            return Fate.USELESS
        self.turnover.replaced += 1
        return Fate.REPLACED

    def remove(self, slot: Slot) -> None:
        self.slots.remove(slot)

    def give_up(self, slot: Slot, error: PermafrostError) -> None:
        """A worker that does not pass the checks has no place in this run. If it was the last one, its error is raised."""
        self.remove(slot)
        self._useless[slot.place.node.id] += 1
        if not self.slots:
            raise error
