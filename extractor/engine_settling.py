"""The engine of a run that is to find it out: what the sets are asked for it, and what becomes of the answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from extractor.executor import Executor
from extractor.job import WorkerInfo
from extractor.set_run import SetRun

logger = logging.getLogger(__name__)


def choose_engine(executor: Executor, sets: Sequence[SetRun], images: int) -> list[WorkerInfo]:
    """Of all workers, with the engine that is fastest. images: to read. Raises as `SetRun.check` does."""
    workers = executor.choose_engine(images, [each.base.golden() if each.base else None for each in sets])
    for each, worker in zip(sets, workers[0].all_sets, strict=True):
        each.check(worker)
    logger.warning("engine %s: %s", workers[0].engine.name, workers[0].engine.why)
    return workers
