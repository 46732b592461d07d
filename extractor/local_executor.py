"""Units on threads of this process: the executor without Ray."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from extractor.claims import Claims
from extractor.executor import CHECK_SECONDS, go_on
from extractor.job import Job, WorkerInfo
from extractor.plan import Unit
from extractor.receipt import Receipt
from extractor.recipe import Recipe
from extractor.unit_queue import Attempt, LostUnit, UnitQueue
from extractor.worker import Worker
from storage.errors import PermafrostError

_Result = Receipt | LostUnit | PermafrostError


class LocalExecutor:
    """Workers as threads: no start-up cost and no Ray. TensorFlow, reading and hashing all run without the interpreter lock."""

    replaced = 0  # a thread does not die alone

    def __init__(self, recipe: Recipe, workers: int | None = None) -> None:
        self._recipe = recipe
        self._count = workers or 1
        self._workers: list[Worker] = []
        self._job: Job | None = None
        self._claims = Claims()
        self._lock = threading.Lock()

    def start(self) -> list[WorkerInfo]:
        threads = max(1, (os.cpu_count() or 1) // self._count)
        # One after the other: seeding random weights is global to the process.
        self._workers = [Worker(self._recipe, threads) for _ in range(self._count)]
        return [worker.info() for worker in self._workers]

    def embed_images(self, images: Sequence[bytes]) -> npt.NDArray[np.generic]:
        return self._workers[0].embed_images(images)

    def measure(self, locations: Sequence[str]) -> float:
        shares = [locations[i :: self._count] for i in range(self._count)]
        with ThreadPoolExecutor(self._count) as pool:
            return sum(pool.map(Worker.measure, self._workers, shares))

    def begin(self, job: Job, known: Iterable[bytes]) -> None:
        self._job = job
        self._claims = Claims(known)
        for worker in self._workers:
            worker.check(job)

    def run(self, units: Sequence[Unit], check: Callable[[], None] = go_on) -> Iterator[Receipt | LostUnit]:
        waiting = UnitQueue(units)
        results: queue.Queue[_Result] = queue.Queue()
        stop = threading.Event()
        for worker in self._workers:
            # Daemons, so that an interrupt ends the program at once; a unit cut short has published nothing.
            threading.Thread(target=self._serve, args=(worker, waiting, results, stop), daemon=True).start()
        try:
            for _ in units:
                result = _next(results, check)
                if isinstance(result, PermafrostError):
                    raise result
                if isinstance(result, LostUnit):
                    self._release(result.unit.id)
                yield result
        finally:
            stop.set()

    def close(self) -> None:
        self._workers = []

    def _serve(
        self,
        worker: Worker,
        waiting: UnitQueue,
        results: queue.Queue[_Result],
        stop: threading.Event,
    ) -> None:
        while not stop.is_set():
            with self._lock:
                attempt = waiting.take()
            if attempt is None:
                return
            try:
                results.put(self._run_one(worker, attempt))
            except PermafrostError as error:
                results.put(error)
            except Exception as error:  # noqa: BLE001 - whatever broke this unit, the other units go on
                with self._lock:
                    lost = waiting.failed(attempt, f"{type(error).__name__}: {error}")
                if lost:
                    results.put(lost)

    def _run_one(self, worker: Worker, attempt: Attempt) -> Receipt:
        assert self._job is not None, "begin() comes before run()"

        def claim(digests: Sequence[bytes]) -> list[bool]:
            with self._lock:
                return self._claims.claim(attempt.unit.id, attempt.number, digests)

        return worker.run(attempt.unit, self._job, claim)

    def _release(self, unit: str) -> None:
        with self._lock:
            self._claims.release(unit)


def _next(results: queue.Queue[_Result], check: Callable[[], None]) -> _Result:
    while True:
        try:
            return results.get(timeout=CHECK_SECONDS)
        except queue.Empty:
            check()
