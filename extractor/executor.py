"""Where units run: what an executor must do. `local_executor` and `ray_executor` do it, and pass one contract suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from extractor.crew import Turnover
from extractor.engine_choice import EngineChoice
from extractor.job import Job, WorkerInfo
from extractor.plan import Unit
from extractor.receipt import Receipt
from extractor.unit_queue import LostUnit
from storage.digests import Words

CHECK_SECONDS = 1.0
WORKER_THREAD = "permafrost-worker"  # name of the threads that a program must not wait for at its end, nor be ended by


def go_on() -> None:
    return None


class Executor(Protocol):
    """Runs units on workers. Called in this order: start, what is about the engine, embed_images (both if wanted), begin, run (any number
    of times), close.
    """

    turnover: Turnover  # of its workers, so far

    def start(self) -> list[WorkerInfo]:
        """Build backbones; the info of each worker. Raises what building raises, e.g. UsageError for weights that do not fit."""
        ...

    def ask_one(self, what: str, *arguments: Any) -> Any:
        """What a method of one `Worker` answers: choose_engine, calibrate or weigh_precision."""
        ...

    def use_engine(self, engine: EngineChoice) -> list[WorkerInfo]:
        """All workers go on with it, and those that join; the info of each worker."""
        ...

    def embed_images(self, images: Sequence[bytes]) -> tuple[npt.NDArray[np.generic], ...]:
        """Embed a few images on one worker, for each set of the run."""
        ...

    def measure(self, locations: Sequence[str]) -> float:
        """Images a second of all workers together, from files to features; tried on the images at these locations."""
        ...

    def begin(self, job: Job, known: Iterable[Iterable[Words]]) -> None:
        """Set the job; `known` digests of each set, block by block, are never embedded for it.

        Raises DriftError if a worker fails the golden images."""
        ...

    def run(self, units: Iterable[Unit], check: Callable[[], None] = go_on) -> Iterator[Receipt | LostUnit]:
        """Take units one by one, and yield a result for each, or for each part of one that was split, in order of completion.

        An image that kills or breaks its worker gives the receipt of a reject. A PermafrostError in a worker is raised here and ends
        the run; so does RunError for a failure that is the same everywhere, and for a hung worker that cannot be replaced.
        check: called every CHECK_SECONDS while no unit finishes; what it raises ends the run.
        """
        ...

    def tell_pending(self, items: int) -> None:
        """Called after `begin` and between results: how many items are still to be read, for those who watch the run."""
        ...

    def drain(self) -> None:
        """Called during `run`, also from a signal handler: begin no further unit; `run` ends when those under way have ended."""
        ...

    def close(self) -> None: ...
