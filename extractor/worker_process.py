"""A worker in a process of its own, whoever starts that: TensorFlow is first imported in `build`, after the check of the code."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from extractor.claims import Claim
from extractor.code_version import require_same_code, versions_here
from extractor.device import prepare_process
from extractor.engine_choice import AS_USUAL, EngineChoice
from extractor.job import Job, WorkerInfo
from extractor.lean_imports import keeping_all
from extractor.plan import Unit
from extractor.receipt import Receipt
from extractor.recipe import Recipe
from storage.errors import PermafrostError


class WorkerProcess:
    """address: of its node. has_gpu: whether one, or a share of one, is its own."""

    def __init__(self, threads: int, address: str, has_gpu: bool) -> None:
        self._threads, self._address, self._has_gpu = threads, address, has_gpu

    def build(self, versions: Mapping[str, str], recipes: Sequence[Recipe], engine: EngineChoice) -> WorkerInfo:
        """versions: the driver's. Raises CodeMismatchError before anything is built."""
        cautions = require_same_code(versions, versions_here(), self._address)
        os.environ["KERAS_BACKEND"] = engine.kind.backend
        if not self._has_gpu:
            os.environ["JAX_PLATFORMS"] = "cpu"
        with keeping_all():
            prepare_process(self._threads, use_gpus=self._has_gpu and engine.kind.backend == "tensorflow")
            from extractor.worker import Worker

        self._worker = Worker(recipes, self._threads, AS_USUAL if engine.measured else engine)
        info = self.use(engine)
        return replace(info, cautions=(*cautions, *info.cautions))

    def ask(self, what: str, *arguments: Any) -> Any:
        """The answer of one of the worker's methods."""
        return getattr(self._worker, what)(*arguments)

    def use(self, engine: EngineChoice) -> WorkerInfo:
        self._worker.use(engine)
        info = self._worker.info()
        seen = f", GPU {os.environ.get('CUDA_VISIBLE_DEVICES')}" if self._has_gpu else ""
        return replace(info, where=f"{self._address} ({info.environment['device']}{seen})")

    def run_unit(self, unit: Unit, job: Job, claim: Claim) -> Receipt:
        """As `Worker.run`. Ends the process if it no longer embeds known good images: another one takes its place."""
        try:
            return self._worker.run(unit, job, claim)
        except (PermafrostError, OSError):
            raise
        except Exception:
            if not self._worker.is_sound(job):
                os._exit(1)  # a broken device would fail unit after unit
            raise
