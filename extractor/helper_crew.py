"""The decode helpers of a run, as its driver sees them: where they are, and whether they are there. Starts no process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from extractor.dispatch import CallError, DiedError, Processes
from extractor.sharing import Node, Place, helper_places
from storage.errors import PermafrostError, RunError, UsageError

logger = logging.getLogger(__name__)

START_SECONDS = 10.0  # that a run waits for helpers; those that need longer are used when they are there


class HelperCrew:
    """`wanted`: helpers; 0 for none."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self.helpers: list[Any] = []
        self.nodes: set[str] = set()  # ids of those that have helpers, and no workers

    def start(self, nodes: Sequence[Node], places: Sequence[Place], make: Callable[[Place], Any]) -> None:
        """Once, beside workers at `places`. Raises UsageError where no node is free for them.

        make: a `Helper`, whose `begin` gives the reference of `prepare`'s answer.
        """
        if self.helpers or not self._wanted:
            return
        if not (found := helper_places(nodes, places, self._wanted)):
            raise UsageError(
                f"--decode-helpers {self._wanted}: expected a node with CPUs that has no GPU and no worker of this run, and there is "
                "none. Leave it out, let such a node join, or keep nodes of a cluster without GPUs free with --workers"
            )
        self.nodes = {place.node.id for place in found}
        self.helpers = [make(place) for place in found]

    def await_all(self, processes: Processes) -> None:
        """For START_SECONDS; workers await those that are not there yet, in threads aside. Raises CodeMismatchError."""
        missing, lost, deadline = [helper.begin() for helper in self.helpers], 0, time.monotonic() + START_SECONDS
        while missing and (found := processes.wait(missing, max(0.0, deadline - time.monotonic()))):
            missing.remove(found[0])
            try:
                processes.result(found[0])
            except CallError as error:
                raise (error.cause if isinstance(error.cause, PermafrostError) else RunError(f"a decode helper failed: {error}")) from None
            except DiedError:
                lost += 1
        if absent := len(missing) + lost:
            logger.warning("%d of %d decode helpers are not there yet: the cluster is busy, or they died", absent, len(self.helpers))
