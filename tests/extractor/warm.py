"""Local workers that outlive their runs: building the network anew for each run would be most of the tests' time, and drawing and embedding
the golden images again half of what is left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

import extractor.run
from extractor.local_executor import LocalExecutor
from extractor.options import ExtractOptions
from extractor.recipe import Recipe
from extractor.worker import Worker


class WarmWorker(Worker):
    """Remembers the embeddings of the golden images."""

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        super().__init__(recipes)
        self.known: dict[tuple[bytes, ...], tuple[npt.NDArray[np.generic], ...]] = {}

    def embed_images(self, images: Sequence[bytes]) -> tuple[npt.NDArray[np.generic], ...]:
        if tuple(images) not in self.known:
            self.known[tuple(images)] = super().embed_images(images)
        return self.known[tuple(images)]


WORKERS: dict[tuple[Recipe, ...], list[WarmWorker]] = {}


class WarmExecutor(LocalExecutor):
    def _new_worker(self) -> Worker:
        built, number = WORKERS.setdefault(self._recipes, []), len(self._workers)
        if number == len(built):
            built.append(WarmWorker(self._recipes))
        return built[number]


def recipes_of(options: ExtractOptions) -> tuple[Recipe, ...]:
    return (options.recipe, *(each.recipe for each in options.also))


def keep_workers_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    cold = extractor.run.make_executor
    monkeypatch.setattr(
        "extractor.run.make_executor",
        lambda options: WarmExecutor(recipes_of(options), options.workers, options.unit_deadline) if options.local else cold(options),
    )
