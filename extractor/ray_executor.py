"""Units on Ray actors: one a GPU, or a share of the CPUs each. The only file that imports Ray.

Ray core, neither Ray Data nor ActorPool: accounting is by unit, and a dead actor must cost its unit one attempt, not the run. Ray's
object store carries digests, unit descriptions and receipts, never an image or an embedding.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from extractor.claims import Claims
from extractor.cluster_access import CHECK_ADDRESS, require_reachable, sigterm_kept, use_a_private_token
from extractor.code_version import require_same_code, versions_here
from extractor.deadline import Deadline
from extractor.device import prepare_process
from extractor.executor import CHECK_SECONDS, go_on
from extractor.interval import Interval
from extractor.job import Job, WorkerInfo
from extractor.last_words import last_line, tells_of_leaving
from extractor.plan import Unit
from extractor.poison import condemn
from extractor.receipt import Receipt, embedded_digests
from extractor.recipe import Recipe
from extractor.sharing import Node, Place, Sharing
from extractor.slot import Slot
from extractor.unit_queue import MAX_IN_A_ROW, Attempt, Fault, LostUnit, Poison, UnitQueue
from storage.errors import PermafrostError, RunError
from storage.runs import RunFolder

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_NOTES = 60.0
IN_FLIGHT = 2  # units an actor has at hand: the next one is there when it finishes
MAX_STARTS = 3  # of one worker before it has work
OBJECT_STORE_BYTES = 128 << 20  # 128 MiB for a private cluster: receipts are small
ACTOR_ENVIRONMENT = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}


class _Actor:
    """A worker in a process of its own. TensorFlow is first imported in `build`, after the check of the code and the setting of devices."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def build(self, versions: Mapping[str, str], recipe: Recipe) -> WorkerInfo:
        """versions: the driver's. Raises CodeMismatchError before anything is built."""
        address = ray.util.get_node_ip_address()
        cautions = require_same_code(versions, versions_here(), address)
        prepare_process(self._threads, use_gpus=bool(ray.get_gpu_ids()))
        from extractor.worker import Worker

        self._worker = Worker(recipe, self._threads)
        info = self._worker.info()
        seen = f", GPU {os.environ.get('CUDA_VISIBLE_DEVICES')}" if ray.get_gpu_ids() else ""
        return replace(info, where=f"{address} ({info.environment['device']}{seen})", cautions=tuple(cautions))

    def embed_images(self, images: Sequence[bytes]) -> npt.NDArray[np.generic]:
        return self._worker.embed_images(images)

    def measure(self, locations: Sequence[str]) -> float:
        return self._worker.measure(locations)

    def begin(self, job: Job, claims: Any) -> None:
        self._job = job
        self._claims = claims
        self._worker.check(job)

    def run(self, unit: Unit, number: int) -> Receipt:
        def claim(digests: Sequence[bytes]) -> list[bool]:
            answer: list[bool] = ray.get(self._claims.claim.remote(unit.id, number, digests))
            return answer

        try:
            return self._worker.run(unit, self._job, claim)
        except (PermafrostError, OSError):
            raise
        except Exception:
            if not self._worker.is_sound(self._job):
                os._exit(1)  # a broken device would fail unit after unit: another process takes its place
            raise


class _Claims(Claims):
    """The register as an actor. Ray makes it anew if it dies: what finished units hold is known then from their receipts, so that only
    what was under way may be claimed again."""

    def __init__(self, known: Iterable[bytes], run: RunFolder) -> None:
        super().__init__([*known, *(digest for table in run.receipts() for digest in embedded_digests(table))])


class RayExecutor:
    """`address`: an existing cluster ("auto" or host:port); None for RAY_ADDRESS or else a private cluster on this machine.
    `workers`: actors; None for one a GPU, or one for each 4 CPUs where there is no GPU.
    `deadline`: seconds a unit; None for a generous one.
    """

    actor_class: type = _Actor
    actor_environment: Mapping[str, str] = ACTOR_ENVIRONMENT

    def __init__(self, recipe: Recipe, workers: int | None = None, address: str | None = None, deadline: float | None = None) -> None:
        self._recipe = recipe
        self._versions = versions_here()
        self._wanted = workers
        self._address = address or os.environ.get("RAY_ADDRESS")
        self._slots: list[Slot] = []
        self._job: Job | None = None
        self._waiting = UnitQueue([])
        self._draining = False
        self._deadline = Deadline(deadline)
        self._deaths = 0  # in a row, with no unit finished in between
        self.replaced = 0
        self._owns_connection = False

    def start(self) -> list[WorkerInfo]:
        with sigterm_kept():
            self._owns_connection = _connect(self._address)
        self._slots = [Slot(place, self._new_actor(place)) for place in self._places()]
        infos = self._ask_all(self._build)
        for caution in sorted({caution for info in infos for caution in info.cautions}):
            logger.warning(caution)
        return infos

    def embed_images(self, images: Sequence[bytes]) -> npt.NDArray[np.generic]:
        def ask(actor: Any) -> Any:
            return actor.embed_images.remote(images)

        slot = self._slots[0]
        return np.asarray(self._answer(slot, ask(slot.actor), ask))

    def measure(self, locations: Sequence[str]) -> float:
        n = len(self._slots)
        return float(sum(self._get([slot.actor.measure.remote(locations[i::n]) for i, slot in enumerate(self._slots)])))

    def begin(self, job: Job, known: Iterable[bytes]) -> None:
        self._job = job
        restarted: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        self._claims = ray.remote(_Claims).options(**restarted).remote(list(known), job.run)
        self._ask_all(lambda actor: actor.begin.remote(job, self._claims))

    def run(self, units: Sequence[Unit], check: Callable[[], None] = go_on) -> Iterator[Receipt | LostUnit]:
        self._waiting, self._draining = UnitQueue(units), False
        while True:
            self._fill()
            owners = {reference: slot for slot in self._slots for reference in slot.sent}
            if not owners:
                return
            finished, _ = ray.wait(list(owners), num_returns=1, timeout=CHECK_SECONDS)
            if not finished:
                check()
            for reference in finished:
                yield from self._settle(owners[reference], reference)
            for slot in self._slots:
                yield from self._end_if_hung(slot)

    def drain(self) -> None:
        self._waiting.close()
        self._draining = True

    def close(self) -> None:
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots = []
        if self._owns_connection:
            ray.shutdown()

    def _fill(self) -> None:
        """Top up: first one unit for every actor, then the second. When draining, leave each only what it is at work on."""
        if self._draining:
            for slot in self._slots:
                for given_back in slot.keep_head():
                    self._waiting.put_back(given_back)
            return
        for depth in range(1, IN_FLIGHT + 1):
            for slot in self._slots:
                if len(slot.units) < depth and (attempt := self._waiting.take()):
                    slot.send(slot.actor.run.remote(attempt.unit, attempt.number), attempt)

    def _settle(self, slot: Slot, reference: Any) -> Iterator[Receipt | LostUnit]:
        try:
            result = ray.get(reference)
        except RayTaskError as error:
            attempt = slot.take_off(reference)
            if isinstance(error.cause, PermafrostError):
                raise error.cause from None
            if attempt is None:
                raise RunError(f"a replacement worker could not be set up: {last_line(error)}") from error
            yield from self._failed(attempt, last_line(error), Fault.STORAGE if isinstance(error.cause, OSError) else Fault.BROKE)
        except RayActorError as error:
            yield from self._after_death(slot, last_line(error), Fault.DIED, innocent=error.preempted or tells_of_leaving(error))
        else:
            seconds = slot.seconds
            if slot.take_off(reference):
                self._deaths = 0
                self._deadline.finished(seconds)
                yield from self._finished(result)

    def _end_if_hung(self, slot: Slot) -> Iterator[Receipt | LostUnit]:
        limit = self._deadline.seconds
        if slot.head and slot.seconds > limit:
            ray.kill(slot.actor)
            yield from self._after_death(slot, f"no end within {limit:g} s (--unit-deadline)", Fault.HUNG)

    def _after_death(self, slot: Slot, message: str, fault: Fault, innocent: bool = False) -> Iterator[Receipt | LostUnit]:
        """innocent: the worker was told to go, or its machine went; the unit had no part in it."""
        lost = slot.units
        logger.warning("a worker %s and is replaced; its unit is tried again", "hung" if fault is Fault.HUNG else "died")
        self._replace(slot, message)
        # Ray runs an actor's calls in order, so only the first can have killed it. The last goes back first: so the order stays.
        for attempt in reversed(lost if innocent else lost[1:]):
            self._waiting.put_back(attempt)
        if lost and not innocent:
            yield from self._failed(lost[0], message, fault)

    def _failed(self, attempt: Attempt, message: str, fault: Fault) -> Iterator[Receipt | LostUnit]:
        """A call that failed may have finished its work: its receipt on disk says so."""
        assert self._job is not None
        table = self._job.run.read_receipt(attempt.unit.id)
        if table is not None:
            yield from self._finished(Receipt.from_table(table))
            return
        for given_up in self._waiting.failed(attempt, message, fault):
            if isinstance(given_up, Poison):
                yield condemn(given_up, self._job)
            else:
                ray.get(self._claims.release.remote(given_up.unit.id))
                yield given_up

    def _finished(self, receipt: Receipt) -> Iterator[Receipt]:
        assert self._job is not None
        yield receipt
        for poison in self._waiting.finished():
            yield condemn(poison, self._job)

    def _replace(self, slot: Slot, message: str) -> None:
        self._deaths += 1
        if self._deaths > MAX_IN_A_ROW + len(self._slots):  # all may die at once, with their machines
            raise RunError(
                f"{self._deaths} workers died in a row ({message}). Not enough memory is the usual cause: try fewer "
                "--workers. What was finished is kept; run the same command again to go on"
            )
        self.replaced += 1
        slot.actor = self._new_actor(slot.place)
        slot.sent = {self._build(slot.actor): None, slot.actor.begin.remote(self._job, self._claims): None}

    def _ask_all(self, ask: Callable[[Any], Any]) -> list[Any]:
        """Ask every actor, all at once."""
        references = [ask(slot.actor) for slot in self._slots]
        _say_while_waiting(references)
        return [self._answer(slot, reference, ask) for slot, reference in zip(self._slots, references, strict=True)]

    def _answer(self, slot: Slot, reference: Any, ask: Callable[[Any], Any]) -> Any:
        """An actor's answer, before there are units. One that dies meanwhile, as on a lost node, is replaced and asked again."""
        for _ in range(MAX_STARTS):
            try:
                return ray.get(reference)
            except RayActorError:
                logger.warning("a worker died before it had work, and is replaced")
                slot.actor = self._new_actor(slot.place)
                self._build(slot.actor)
                reference = ask(slot.actor)
            except RayError:
                break
        [answer] = self._get([reference])
        return answer

    def _places(self) -> list[Place]:
        """Places on the nodes that are there. Where none may have workers, an autoscaler is told that one is wanted, and may bring it."""
        note, asked = Interval(SECONDS_BETWEEN_NOTES), False
        while True:
            nodes = _nodes()
            self._sharing = Sharing.among(nodes, self._wanted)
            if places := self._sharing.missing(nodes, {}):
                break
            if not asked:
                request_resources(num_cpus=1)
                asked = True
            if note.passed():
                logger.warning("waiting for the cluster to have a node with CPUs or GPUs")
            time.sleep(CHECK_SECONDS)
        if asked:
            request_resources(num_cpus=0)
        return places

    def _new_actor(self, place: Place) -> Any:
        options = {
            "num_cpus": place.cpus,
            "num_gpus": place.gpus,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(place.node.id, soft=False),
            "runtime_env": {"env_vars": self.actor_environment},
        }
        return ray.remote(self.actor_class).options(**options).remote(place.threads)

    def _build(self, actor: Any) -> Any:
        return actor.build.remote(self._versions, self._recipe)

    @staticmethod
    def _get(references: list[Any]) -> list[Any]:
        try:
            return list(ray.get(references))
        except RayTaskError as error:
            if isinstance(error.cause, PermafrostError):
                raise error.cause from None
            raise RunError(f"a Ray worker failed: {last_line(error)}") from error
        except RayError as error:
            raise RunError(
                f"a Ray worker could not start or died: {last_line(error)}. Is this version of permafrost installed on every node, "
                "and is there memory for all workers?"
            ) from error


def _connect(address: str | None) -> bool:
    """Connect to Ray; True if this made the connection, False if the caller's program was connected already."""
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    if address:
        require_reachable(address)
        try:
            ray.init(address=address, **quiet)
        except (RayError, ConnectionError, RuntimeError, ValueError) as error:
            raise PermafrostError(f"cannot connect to the Ray cluster at {address!r}: {last_line(error)}. {CHECK_ADDRESS}") from None
        return True
    use_a_private_token()
    ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)
    return True


def _nodes() -> list[Node]:
    """The nodes that are there. One that is killed still is for about 15 s: until the head has missed its signs of life."""
    found = [(node, node["Resources"]) for node in ray.nodes() if node["Alive"]]
    return [Node(node["NodeID"], node["NodeManagerAddress"], has.get("CPU", 0.0), has.get("GPU", 0.0)) for node, has in found]


def _say_while_waiting(references: list[Any]) -> None:
    """A busy cluster lets actors wait without a word, or its autoscaler brings nodes first: say so every minute."""
    while True:
        _, missing = ray.wait(references, num_returns=len(references), timeout=SECONDS_BETWEEN_NOTES)
        if not missing:
            return
        logger.warning("waiting for the cluster to start %d of %d workers", len(missing), len(references))
