"""Local workers that outlive their runs: building the network anew for each run would be most of the tests' time."""

from __future__ import annotations

import pytest

import extractor.run
from extractor.job import WorkerInfo
from extractor.local_executor import LocalExecutor
from extractor.recipe import Recipe
from extractor.worker import Worker

WORKERS: dict[Recipe, list[Worker]] = {}


class WarmExecutor(LocalExecutor):
    def start(self) -> list[WorkerInfo]:
        built = WORKERS.setdefault(self._recipe, [])
        built += [Worker(self._recipe) for _ in range(self._count - len(built))]
        self._workers = built[: self._count]
        return [worker.info() for worker in self._workers]


def keep_workers_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    cold = extractor.run._make_executor
    monkeypatch.setattr(
        "extractor.run._make_executor",
        lambda options: WarmExecutor(options.recipe, options.workers, options.unit_deadline) if options.local else cold(options),
    )
