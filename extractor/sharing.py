"""Which node takes how many workers, and what each of them gets. Index arithmetic only: nothing here asks the cluster.

Each worker is placed on a node by name, with an equal share of that node. So unequal nodes are used whole, all workers fit at once in
whatever order they start, and one whose node is gone waits for nothing. Shares of the whole cluster's resources promise none of that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CPUS_A_WORKER = 4  # on machines without GPUs: more cores make one forward pass little faster


@dataclass(frozen=True)
class Node:
    """A machine of the cluster that is there, and all that it has, whoever uses it now."""

    id: str
    address: str  # for messages
    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where one worker runs, and what is reserved for it there."""

    node: Node
    cpus: float
    gpus: float
    threads: int


@dataclass(frozen=True)
class Sharing:
    """The rule of one run: settled by the nodes that are there at its start, and kept for those that join.

    `wanted`: workers; None for one a GPU, or, where no node has a GPU, one for each 4 CPUs.
    `times`: workers in the place of one, when more are wanted than that: so many share a GPU.
    """

    on_gpus: bool
    wanted: int | None = None
    times: int = 1

    @classmethod
    def among(cls, nodes: Sequence[Node], wanted: int | None = None) -> Sharing:
        on_gpus = any(node.gpus >= 1 for node in nodes)
        once = cls(on_gpus)
        total = sum(once.room(node) for node in nodes)
        return cls(on_gpus, wanted, max(1, math.ceil(wanted / total)) if wanted and total else 1)

    def room(self, node: Node) -> int:
        """How many workers a node can take. A node with 0 CPUs is kept free of work on purpose, as heads often are, unless it has GPUs."""
        if self.on_gpus:
            return self.times * int(node.gpus)
        return self.times * max(1, int(node.cpus // CPUS_A_WORKER)) if node.cpus >= 1 else 0

    def place(self, node: Node) -> Place:
        """An equal share of the node for one of the most workers that it will ever have."""
        most = min(self.room(node), self.wanted or math.inf)
        cpus = node.cpus / most
        # Ray counts in ten-thousandths. One GPU each, or a part of one: Ray gives no worker parts of two.
        gpus = (1.0 if self.times == 1 else _down(1 / self.times, 4)) if self.on_gpus else 0.0
        return Place(node, int(cpus) if cpus >= 1 else _down(cpus, 3), gpus, max(1, int(cpus)))

    def missing(self, nodes: Sequence[Node], taken: Mapping[str, int]) -> list[Place]:
        """Places for the workers that are still to start: `wanted` in all, or all that there is room for.

        taken: places by node id that are in use, or of no use. The emptiest node is next, and of equally empty ones the largest.
        """
        used = Counter(taken)
        found: list[Place] = []
        while self.wanted is None or used.total() < self.wanted:
            free = [node for node in nodes if used[node.id] < self.room(node)]
            if not free:
                break
            node = min(free, key=lambda node: (used[node.id] / self.room(node), -self.room(node), node.id))
            used[node.id] += 1
            found.append(self.place(node))
        return found


def helper_places(nodes: Sequence[Node], places: Sequence[Place], wanted: int) -> list[Place]:
    """Equal shares of nodes with CPUs, no GPU and none of the workers at `places`, for so many decode helpers; [] where there is none."""
    taken = {place.node.id for place in places}
    free = [node for node in nodes if not node.gpus and node.id not in taken]
    return Sharing.among(free, wanted).missing(free, {})


def _down(value: float, digits: int) -> float:
    scale = float(10**digits)
    return math.floor(value * scale) / scale
