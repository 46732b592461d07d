"""Local workers that outlive their runs: building the network anew for each run would be most of the tests' time."""

from __future__ import annotations

import pytest

import extractor.run
from extractor.job import WorkerInfo
from extractor.local_executor import LocalExecutor
from extractor.options import ExtractOptions
from extractor.recipe import Recipe
from extractor.worker import Worker

WORKERS: dict[tuple[Recipe, ...], list[Worker]] = {}


class WarmExecutor(LocalExecutor):
    def start(self) -> list[WorkerInfo]:
        built = WORKERS.setdefault(self._recipes, [])
        built += [Worker(self._recipes) for _ in range(self._count - len(built))]
        self._workers = built[: self._count]
        return [worker.info() for worker in self._workers]


def recipes_of(options: ExtractOptions) -> tuple[Recipe, ...]:
    return (options.recipe, *(each.recipe for each in options.also))


def keep_workers_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    cold = extractor.run._make_executor
    monkeypatch.setattr(
        "extractor.run._make_executor",
        lambda options: WarmExecutor(recipes_of(options), options.workers, options.unit_deadline) if options.local else cold(options),
    )
