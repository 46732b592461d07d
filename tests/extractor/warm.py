"""Local workers that outlive their runs: building the network anew for each run would be most of the tests' time."""

from __future__ import annotations

import pytest

import extractor.run
from extractor.local_executor import LocalExecutor
from extractor.options import ExtractOptions
from extractor.recipe import Recipe
from extractor.worker import Worker

WORKERS: dict[tuple[Recipe, ...], list[Worker]] = {}


class WarmExecutor(LocalExecutor):
    def _new_worker(self) -> Worker:
        built, number = WORKERS.setdefault(self._recipes, []), len(self._workers)
        if number == len(built):
            built.append(Worker(self._recipes))
        return built[number]


def recipes_of(options: ExtractOptions) -> tuple[Recipe, ...]:
    return (options.recipe, *(each.recipe for each in options.also))


def keep_workers_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    cold = extractor.run._make_executor
    monkeypatch.setattr(
        "extractor.run._make_executor",
        lambda options: WarmExecutor(recipes_of(options), options.workers, options.unit_deadline) if options.local else cold(options),
    )
