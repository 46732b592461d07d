"""A cluster that exists in memory only: nodes and processes that come, work and die when a test says so."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from extractor.corpus import Item
from extractor.crew import Crew
from extractor.dispatch import CallError, DiedError
from extractor.job import Job, WorkerInfo
from extractor.plan import Unit
from extractor.receipt import RECEIPT_FIELDS, Receipt
from extractor.sharing import Node
from extractor.slot import Slot
from extractor.turns import UNITS_AT_ONCE
from extractor.unit_queue import Attempt
from storage.errors import CodeMismatchError
from storage.golden import no_golden_images
from storage.runs import RunFolder
from storage.shard_layout import ShardLayout
from storage.space import Space

SPACE = Space("g", "w", "l", "avg", 32, "image-v1", "tf", "float32", "float32")
LAYOUT = ShardLayout((4,), "float32", SPACE.id)


def make_job(folder: Path) -> Job:
    return Job(RunFolder(folder / "set", "run"), "photos", folder, "parquet", LAYOUT, no_golden_images((4,), "float32"))


def make_units(n: int, items: int = 1) -> list[Unit]:
    return [Unit(f"{i:06d}", tuple(Item(f"{i * items + j}.jpg", "1-1") for j in range(items))) for i in range(n)]


def receipt_of(unit: Unit, worker: str) -> Receipt:
    columns = {name: [None] * len(unit.items) for name, _ in RECEIPT_FIELDS} | {"key": [item.key for item in unit.items]}
    table = pa.table(columns, schema=pa.schema(RECEIPT_FIELDS))
    return Receipt(unit.id, "photos", None, table, {"read": 1, "bytes_read": 10, "embedded": 1}, {"infer": 0.5}, worker)


@dataclass
class Process:
    node: str
    alive: bool = True
    innocent: bool = True  # of its death
    calls: list[int] = field(default_factory=list)  # oldest first


class SimulatedCluster:
    """`bad`: ids of nodes whose code is another one. Calls end in the order in which they were made, one a `wait`, which is a second.

    deadly, hanging: keys of items that kill the process that is at work on them, or never end.
    """

    def __init__(self, nodes: Sequence[Node], bad: Sequence[str] = (), deadly: Collection[str] = (), hanging: Collection[str] = ()) -> None:
        self.there = {node.id: node for node in nodes}
        self.bad = set(bad)
        self._deadly, self._hanging = set(deadly), set(hanging)
        self._seconds = 0.0
        self.processes: list[Process] = []
        self.worked: list[tuple[str, str]] = []  # (node, unit) of each call that ended well
        self.released: list[str] = []
        self.script: list[object] = []  # functions without arguments: one is called at each `wait`
        self._numbers = itertools.count()
        self._calls: dict[int, tuple[Process, Attempt | None]] = {}

    def crew(self, wanted: int | None = None) -> Crew:
        """As it is when all that there is room for have begun."""
        crew = Crew(wanted)
        crew.slots = [
            Slot(place, self.start(place.node.id), ready=True, clock=lambda: self._seconds) for place in crew.first_places(self.nodes())
        ]
        return crew

    def join(self, node: Node) -> None:
        self.there[node.id] = node

    def leave(self, node: str) -> None:
        self.there.pop(node, None)
        for process in self.processes:
            process.alive &= process.node != node

    def kill_one(self, number: int, innocent: bool = True) -> None:
        """The number-th of the processes that live."""
        living = [process for process in self.processes if process.alive]
        if living:
            living[number % len(living)].alive, living[number % len(living)].innocent = False, innocent

    def nodes(self) -> list[Node]:
        return list(self.there.values())

    def set_up(self, slot: Slot) -> int:
        slot.actor = self.start(slot.place.node.id)
        return self.ask(slot.actor)

    def ask(self, process: Process) -> int:
        """For its WorkerInfo."""
        return self._call(process, None)

    def work(self, slot: Slot, attempt: Attempt) -> int:
        beside = [other for reference in slot.actor.calls if (other := self._calls[reference][1])]
        assert len(beside) < UNITS_AT_ONCE
        assert not beside or not any(each.alone for each in (attempt, *beside)), "a suspect is not alone"
        return self._call(slot.actor, attempt)

    def wait(self, references: Sequence[int], seconds: float) -> list[int]:
        if self.script:
            self.script.pop(0)()  # type: ignore[operator]
        self._seconds += 1
        for process in self.processes:
            if process.alive and self._holds(process, self._deadly):
                process.alive = process.innocent = False
        ended = [reference for reference in references if self._has_ended(reference)]
        return sorted(ended)[:1]

    def result(self, reference: int) -> object:
        process, attempt = self._calls[reference]
        if not process.alive:
            raise DiedError("the node has died", process.innocent)
        process.calls.remove(reference)
        if attempt is None:
            if process.node in self.bad:
                raise CallError("other code", CodeMismatchError(f"node {process.node} does not run what the driver runs"))
            return WorkerInfo(SPACE, (4,), process.node, {})
        self.worked.append((process.node, attempt.unit.id))
        return receipt_of(attempt.unit, process.node)

    def kill(self, slot: Slot) -> None:
        slot.actor.alive = False

    def release(self, unit: str) -> None:
        self.released.append(unit)

    def start(self, node: str) -> Process:
        self.processes.append(Process(node, alive=node in self.there))
        return self.processes[-1]

    def _holds(self, process: Process, keys: set[str], at_most: int = UNITS_AT_ONCE) -> bool:
        attempts = [self._calls[reference][1] for reference in process.calls[:at_most]]
        return any(item.key in keys for attempt in attempts if attempt for item in attempt.unit.items)

    def _has_ended(self, reference: int) -> bool:
        process = self._calls[reference][0]
        return not process.alive or (process.calls[:1] == [reference] and not self._holds(process, self._hanging, 1))

    def _call(self, process: Process, attempt: Attempt | None) -> int:
        reference = next(self._numbers)
        process.calls.append(reference)
        self._calls[reference] = (process, attempt)
        return reference
