"""Units on threads of this process: the executor without Ray."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import length_hint
from typing import Any

import numpy as np
import numpy.typing as npt

from extractor.claims import ClaimRegister
from extractor.crew import Turnover
from extractor.deadline import Deadline
from extractor.device import keep_freed_memory
from extractor.engine_choice import AS_USUAL, EngineChoice
from extractor.executor import CHECK_SECONDS, WORKER_THREAD, go_on
from extractor.job import Job, WorkerInfo
from extractor.plan import Unit
from extractor.poison import condemn
from extractor.receipt import Receipt
from extractor.recipe import Recipe
from extractor.turns import UNITS_AT_ONCE
from extractor.unit_queue import Attempt, Fault, LostUnit, Poison, UnitQueue
from extractor.worker import Worker
from storage.digests import Words
from storage.errors import HungError, PermafrostError, RunError

_Result = Receipt | LostUnit | Poison | PermafrostError | None  # None: a thread has ended
_UnderWay = dict[str, float]  # units of one worker, oldest first, and since when each has, or awaits, its turn, by time.monotonic()
IDLE_SECONDS = 0.02  # between two looks for work, when the next unit cannot be begun yet, or the last ones may come back


class LocalExecutor:
    """Workers as threads: no start-up cost and no Ray. TensorFlow, reading and hashing all run without the interpreter lock.
    The process keeps up to 1 GiB of freed memory from then on (`extractor.device`).

    `deadline`: seconds a unit; None for a generous one. A thread cannot be killed, so that a hung one ends the run.
    """

    def __init__(
        self,
        recipes: Sequence[Recipe],
        workers: int | None = None,
        deadline: float | None = None,
        engine: EngineChoice = AS_USUAL,
    ) -> None:
        self._recipes, self._engine = tuple(recipes), engine
        self._count = workers or 1
        self.turnover = Turnover()  # none: a thread does not die alone
        self._workers: list[Worker] = []
        self._job: Job | None = None
        self._claims = ClaimRegister()
        self._lock = threading.Condition()  # waited on where there is no unit to take
        self._waiting = UnitQueue([])
        self._deadline = Deadline(deadline)
        self._under_way: list[_UnderWay] = []  # of each worker

    def start(self) -> list[WorkerInfo]:
        """Builds the first worker's networks. Those of the others, which are the same, follow when there is work for them."""
        keep_freed_memory()
        self._build_up_to(1)
        return [self._workers[0].info()] * self._count

    def ask_one(self, what: str, *arguments: Any) -> Any:
        return getattr(self._workers[0], what)(*arguments)

    def use_engine(self, engine: EngineChoice) -> list[WorkerInfo]:
        self._engine = engine
        for worker in self._workers:
            worker.use(engine)
        return [self._workers[0].info()] * self._count

    def embed_images(self, images: Sequence[bytes]) -> tuple[npt.NDArray[np.generic], ...]:
        return self._workers[0].embed_images(images)

    def measure(self, locations: Sequence[str]) -> float:
        self._build_up_to(min(len(locations), os.cpu_count() or 1))  # more would not be faster
        n = len(self._workers)
        with ThreadPoolExecutor(n) as pool:
            return sum(pool.map(Worker.measure, self._workers, [locations[i::n] for i in range(n)]))

    def begin(self, job: Job, known: Iterable[Iterable[Words]]) -> None:
        self._job = job
        self._claims = ClaimRegister(known)
        for worker in self._workers:
            worker.check(job)

    def run(self, units: Iterable[Unit], check: Callable[[], None] = go_on) -> Iterator[Receipt | LostUnit]:
        assert self._job is not None, "begin() comes before run()"
        self._build_up_to(length_hint(units, self._count))
        self._waiting, self._under_way = UnitQueue(units), [{} for _ in self._workers]
        results: queue.Queue[_Result] = queue.Queue()
        stop = threading.Event()
        for of_worker in list(zip(self._workers, self._under_way, strict=True)) * UNITS_AT_ONCE:
            # Daemons, so that an interrupt ends the program at once; a unit cut short has published nothing.
            arguments = (*of_worker, self._waiting, results, stop)
            threading.Thread(target=self._serve, args=arguments, name=WORKER_THREAD, daemon=True).start()
        running = UNITS_AT_ONCE * len(self._workers)
        try:
            while running:
                result = self._result(results, check)
                if isinstance(result, PermafrostError):
                    raise result
                if isinstance(result, LostUnit):
                    self._release(result.unit.id)
                if isinstance(result, Poison):
                    yield condemn(result, self._job)
                elif result:
                    yield result
                else:
                    running -= 1
        finally:
            stop.set()

    def tell_pending(self, items: int) -> None:
        """Nobody watches a run without Ray but by its heartbeat."""

    def drain(self) -> None:
        self._waiting.close()

    def close(self) -> None:
        self._workers = []

    def _build_up_to(self, wanted: int) -> None:
        """One after the other: seeding random weights is global to the process."""
        for _ in range(len(self._workers), min(wanted, self._count)):
            worker = self._new_worker()
            if self._job:
                worker.check(self._job)
            self._workers.append(worker)

    def _new_worker(self) -> Worker:
        return Worker(self._recipes, max(1, (os.cpu_count() or 1) // self._count), self._engine)

    def _serve(self, worker: Worker, mine: _UnderWay, waiting: UnitQueue, results: queue.Queue[_Result], stop: threading.Event) -> None:
        while attempt := self._next(worker, mine, waiting, stop):
            for result in self._run_one(worker, mine, waiting, attempt):
                results.put(result)
        results.put(None)

    def _next(self, worker: Worker, mine: _UnderWay, waiting: UnitQueue, stop: threading.Event) -> Attempt | None:
        """None at the end."""
        with self._lock:
            while not stop.is_set() and not waiting.done:
                if attempt := self._attempt_for(worker, mine, waiting):
                    mine[attempt.unit.id] = time.monotonic()
                    return attempt
                self._lock.wait(IDLE_SECONDS)
        return None

    def _attempt_for(self, worker: Worker, mine: _UnderWay, waiting: UnitQueue) -> Attempt | None:
        """One that the worker can begin to read at once, so that a run that is drained has nothing to wait for but what was begun."""
        if not mine:
            return waiting.take()
        return waiting.take_beside(len(self._workers)) if worker.decoded_units == len(mine) else None

    def _run_one(self, worker: Worker, mine: _UnderWay, waiting: UnitQueue, attempt: Attempt) -> Sequence[_Result]:
        assert self._job is not None
        unit = attempt.unit

        def claim(digests: Sequence[bytes]) -> list[int]:
            with self._lock:
                return self._claims.claim(unit.id, attempt.number, digests)

        try:
            receipt = worker.run(unit, self._job, claim)
            with self._lock:
                self._deadline.finished(time.monotonic() - mine[unit.id])
                self._claims.finish(unit.id)
                return [receipt, *waiting.finished()]
        except PermafrostError as error:
            return [error]
        except Exception as error:  # noqa: BLE001 - whatever broke this unit, the other units go on
            return self._failed(worker, waiting, attempt, error)
        finally:
            with self._lock:
                del mine[unit.id]
                mine.update(dict.fromkeys(mine, time.monotonic()))  # the next one's time begins with its turn
                self._lock.notify_all()

    def _failed(self, worker: Worker, waiting: UnitQueue, attempt: Attempt, error: Exception) -> Sequence[_Result]:
        assert self._job is not None
        message = f"{type(error).__name__}: {error}"
        fault = Fault.STORAGE if isinstance(error, OSError) else Fault.BROKE
        if fault is Fault.BROKE and not worker.is_sound(self._job):
            return [RunError(f"a worker no longer embeds known good images. It broke with: {message}. What was finished is kept")]
        try:
            with self._lock:
                return waiting.failed(attempt, message, fault)
        except RunError as hopeless:
            return [hopeless]

    def _release(self, unit: str) -> None:
        with self._lock:
            self._claims.release(unit)

    def _result(self, results: queue.Queue[_Result], check: Callable[[], None]) -> _Result:
        while True:
            try:
                return results.get(timeout=CHECK_SECONDS)
            except queue.Empty:
                check()
                self._require_progress()

    def _require_progress(self) -> None:
        limit = self._deadline.seconds
        late = [unit for mine in self._under_way for unit, since in mine.copy().items() if time.monotonic() - since > limit]
        if late:
            raise HungError(
                f"unit {late[0]} has not ended within {limit:g} s (--unit-deadline), and a hung thread cannot be stopped. What was "
                "finished is kept. Run the same command without --local, which finds the image that hangs, or with a longer deadline"
            )
