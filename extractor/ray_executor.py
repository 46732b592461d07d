"""Units on Ray actors: one a GPU, or a share of the CPUs each. The only file that imports Ray.

Ray core, neither Ray Data nor ActorPool: accounting is by unit, and a dead actor must cost its unit one attempt, not the run. Ray's
object store carries digests, unit descriptions and receipts, never an embedding, and no image but golden ones. The one exception is
--decode-helpers: decoded images of at most `helper_pool.IN_FLIGHT_BYTES` (128 MiB) a worker, uint8, which is what a network takes.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.util.metrics import Counter, Gauge, Histogram
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from extractor.assembly import Assembly
from extractor.claims import TaughtRegister
from extractor.cluster_access import CHECK_ADDRESS, require_reachable, sigterm_kept, use_a_private_token
from extractor.code_version import versions_here
from extractor.crew import Crew
from extractor.deadline import Deadline
from extractor.decode_helper import Helper, HelperLostError
from extractor.dispatch import CallError, DiedError, Dispatcher
from extractor.engine_choice import AS_USUAL, EngineChoice
from extractor.executor import CHECK_SECONDS, go_on
from extractor.helper_crew import HelperCrew
from extractor.helper_process import HelperProcess, RemoteHelper
from extractor.interval import Interval
from extractor.job import Job, WorkerInfo
from extractor.last_words import last_line, tells_of_leaving
from extractor.metrics import COUNTER, HISTOGRAM, SECONDS_BOUNDARIES, Record, RunMetrics
from extractor.plan import Unit
from extractor.receipt import Receipt, embedded_digests
from extractor.recipe import Recipe
from extractor.sharing import Node, Place
from extractor.slot import Slot
from extractor.turns import UNITS_AT_ONCE
from extractor.unit_queue import Attempt, LostUnit
from extractor.worker_process import WorkerProcess
from storage.digests import Words, words_of
from storage.errors import PermafrostError
from storage.runs import RunFolder

logger = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 128 << 20  # 128 MiB for a private cluster: receipts are small, and on one node there are no decode helpers
UNITS = "units"  # the concurrency group of an actor's calls of `run`
HELPER_CALLS = 8  # that a helper works on at a time: one decodes, others read
ACTOR_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # workers may share a GPU


class _Actor(WorkerProcess):
    def __init__(self, threads: int) -> None:
        super().__init__(threads, ray.util.get_node_ip_address(), bool(ray.get_gpu_ids()))

    def begin(self, job: Job, register: _Register, *helpers: Helper) -> None:
        self._job = job
        self._register = register
        self._finished: deque[str] = deque()  # units whose claims are to be settled: told with the next claim, as a call costs 0.5 ms
        self._worker.check(job)
        if helpers:
            self._worker.use_helpers(helpers)

    def set_up(
        self, job: Job, register: _Register, versions: Mapping[str, str], recipes: Any, engine: EngineChoice, *helpers: Helper
    ) -> WorkerInfo:
        """Build and begin, in the middle of a run."""
        info = self.build(versions, recipes, engine)
        self.begin(job, register, *helpers)
        return info

    def run(self, unit: Unit, number: int) -> Receipt:
        def claim(digests: Sequence[bytes]) -> list[int]:
            finished: list[str] = []
            with suppress(IndexError):  # units overlap, and with helpers several threads of each claim
                while True:
                    finished.append(self._finished.popleft())
            return self._register.claim(unit.id, number, digests, finished)

        receipt = self.run_unit(unit, self._job, claim)
        self._finished.append(unit.id)
        return receipt


def _helped(reference: Any) -> Any:
    """A helper's answer. What breaks it is for the worker to try: then it is told as of any image."""
    try:
        return ray.get(reference)
    except RayError as error:
        raise HelperLostError(last_line(error), for_good=isinstance(error, ActorDiedError)) from None  # Ray starts it no more


class _Claims(TaughtRegister):
    """The register as an actor. Ray makes it anew if it dies: what finished units hold is known then from their receipts, so that only
    what was under way may be claimed again."""

    def know(self, known: Sequence[Sequence[Any]], runs: Sequence[RunFolder]) -> None:
        """known: references to blocks of digests, of each set. One block at a time is brought here."""
        self.learn(_known(of_set, run) for of_set, run in zip(known, runs, strict=True))


def _known(references: Sequence[Any], run: RunFolder) -> Iterator[Words]:
    yield from map(ray.get, references)
    yield from (words_of(embedded_digests(table)) for table in run.receipts())


def _new_claims() -> Any:
    """Beside the driver: lost only with it."""
    beside_driver = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": beside_driver}
    return ray.remote(_Claims).options(**options).remote()


@dataclass(frozen=True)
class _Register:
    """Who asks, and if the actor was made anew tells it again what was known, which the driver keeps for that.

    Not by the actor's constructor: a reference there makes Ray warn in each run that the restart will fail if the object is lost, and an
    argument over 100 kB is one that nobody keeps (Ray's issue 53727).
    """

    actor: Any
    known: Sequence[Sequence[Any]]
    runs: Sequence[RunFolder]

    def claim(self, unit: str, attempt: int, digests: Sequence[bytes], finished: Sequence[str]) -> list[int]:
        while True:
            answer: list[int] | None = ray.get(self.actor.claim.remote(unit, attempt, digests, finished))
            if answer is not None:
                return answer
            ray.get(self.actor.know.remote(self.known, self.runs))

    def release(self, unit: str) -> None:
        ray.get(self.actor.release.remote(unit))


class RayExecutor:
    """`address`: an existing cluster ("auto" or host:port); None for RAY_ADDRESS or else a private cluster on this machine.
    `workers`: actors; None for one a GPU, or one for each 4 CPUs where there is no GPU, on nodes that join as well.
    `deadline`: seconds a unit; None for a generous one. `helpers`: processes that decode for the workers, on nodes that have none of them.
    """

    actor_class: type = _Actor
    helper_class: type = HelperProcess
    actor_environment: Mapping[str, str] = ACTOR_ENVIRONMENT

    def __init__(
        self,
        recipes: Sequence[Recipe],
        workers: int | None = None,
        address: str | None = None,
        deadline: float | None = None,
        engine: EngineChoice = AS_USUAL,
        helpers: int = 0,
    ) -> None:
        self._helper_crew = HelperCrew(helpers)
        self._recipes, self._versions, self._engine = tuple(recipes), versions_here(), engine
        self._address = address or os.environ.get("RAY_ADDRESS")
        self._owns_connection = False
        self._crew = Crew(workers)
        self.turnover = self._crew.turnover
        self._assembly = Assembly(self, self._crew, self._restart)
        self._dispatcher = Dispatcher(self, self._crew, Deadline(deadline))
        self._metrics: RunMetrics | None = None
        self._claims: Any = None  # for the next round
        self._tell = Interval(CHECK_SECONDS)  # of the metrics

    def start(self) -> list[WorkerInfo]:
        with sigterm_kept():
            self._owns_connection = _connect(self._address)
        while True:
            places = self._assembly.await_places(_want_node)
            self._helper_crew.start(_nodes(), places, self._new_helper)
            self._crew.slots = [Slot(place, self._new_actor(place)) for place in places]
            self._claims = _new_claims()  # it starts while the workers build
            if infos := self._assembly.ask_infos(self._build):  # all nodes may be lost meanwhile
                return infos

    def ask_one(self, what: str, *arguments: Any) -> Any:
        return self._assembly.ask_one(lambda actor: actor.ask.remote(what, *arguments))

    def use_engine(self, engine: EngineChoice) -> list[WorkerInfo]:
        self._engine = engine
        return self._assembly.ask_infos(lambda actor: actor.use.remote(self._engine))

    def embed_images(self, images: Sequence[bytes]) -> tuple[npt.NDArray[np.generic], ...]:
        return tuple(self._assembly.ask_one(lambda actor: actor.ask.remote("embed_images", images)))

    def measure(self, locations: Sequence[str]) -> float:
        n = len(self._crew.slots)
        shares = itertools.cycle([locations[i::n] for i in range(n)])
        return float(sum(self._assembly.ask(lambda actor: actor.ask.remote("measure", next(shares)))))

    def begin(self, job: Job, known: Iterable[Iterable[Words]]) -> None:
        self._job = job
        self._metrics = self._metrics or RunMetrics(_instrument, "/".join(job.run.set_folder.parts[-2:]), job.run.run_id)
        actor, self._claims = self._claims or _new_claims(), None
        blocks = [[ray.put(words) for words in of_set] for of_set in known]
        self._register = _Register(actor, blocks, [each.run for each in job.all_sets])
        if self._crew.ready:  # a second round: workers that are being set up know the claims of the first
            for slot in [slot for slot in self._crew.slots if not slot.ready]:
                self.kill(slot)
                self._crew.slots.remove(slot)
        self._helper_crew.await_all(self)
        self._assembly.ask(lambda actor: actor.begin.remote(job, self._register, *self._helper_crew.helpers))
        for slot in self._crew.slots:
            slot.ready, slot.sent = True, {}

    def run(self, units: Iterable[Unit], check: Callable[[], None] = go_on) -> Iterator[Receipt | LostUnit]:
        try:
            for result in self._dispatcher.run(self._job, units, check):
                if self._metrics and isinstance(result, Receipt):
                    self._metrics.receipt(result)
                yield result
        finally:
            self._tell_metrics()

    def tell_pending(self, items: int) -> None:
        if self._metrics:
            self._metrics.pending(items)

    def drain(self) -> None:
        self._dispatcher.drain()

    def close(self) -> None:
        for slot in self._crew.slots:
            self.kill(slot)
        for helper in self._helper_crew.helpers:
            ray.kill(helper.actor)
        self._crew.slots, self._helper_crew.helpers = [], []
        if self._owns_connection:
            ray.shutdown()

    # What the dispatcher needs.

    def nodes(self) -> list[Node]:
        return [node for node in _nodes() if node.id not in self._helper_crew.nodes]

    def set_up(self, slot: Slot) -> Any:
        slot.actor = self._new_actor(slot.place)
        return slot.actor.set_up.remote(self._job, self._register, *self._of_network, *self._helper_crew.helpers)

    def work(self, slot: Slot, attempt: Attempt) -> Any:
        return slot.actor.run.options(concurrency_group=UNITS).remote(attempt.unit, attempt.number)

    def wait(self, references: Sequence[Any], seconds: float) -> list[Any]:
        if self._tell.passed():
            self._tell_metrics()
        if references:
            return list(ray.wait(list(references), num_returns=1, timeout=seconds)[0])
        time.sleep(seconds)
        return []

    def result(self, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except RayTaskError as error:
            raise CallError(last_line(error), error.cause) from None
        except RayError as error:  # where an actor died, or cannot be had
            raise DiedError(last_line(error), innocent=getattr(error, "preempted", False) or tells_of_leaving(error)) from None

    def kill(self, slot: Slot) -> None:
        ray.kill(slot.actor)

    def release(self, unit: str) -> None:
        self._register.release(unit)

    def _tell_metrics(self) -> None:
        if self._metrics:
            self._metrics.tell(len(self._crew.ready), self.turnover, self._dispatcher.failures)

    def _new_actor(self, place: Place) -> Any:
        # Units alone overlap. All other calls come one after the other, so that what is asked of a new actor finds it built.
        made = ray.remote(concurrency_groups={UNITS: UNITS_AT_ONCE})(self.actor_class)
        return made.options(**self._options(place)).remote(place.threads)

    def _options(self, place: Place) -> dict[str, Any]:
        return {
            "num_cpus": place.cpus,
            "num_gpus": place.gpus,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(place.node.id, soft=False),
            "runtime_env": {"env_vars": self.actor_environment},
        }

    def _new_helper(self, place: Place) -> RemoteHelper:
        options = self._options(place) | {"max_restarts": -1, "max_concurrency": HELPER_CALLS}
        actor = ray.remote(self.helper_class).options(**options).remote(place.threads, place.node.address)
        return RemoteHelper(actor, self._versions, _helped)

    def _restart(self, slot: Slot) -> None:
        slot.actor = self._new_actor(slot.place)
        self._build(slot.actor)

    def _build(self, actor: Any) -> Any:
        return actor.build.remote(*self._of_network)

    @property
    def _of_network(self) -> tuple[Any, ...]:
        return self._versions, self._recipes, self._engine


def nodes_of(address: str | None = None) -> list[Node]:
    """The nodes of a cluster, or of a private one that is started for this question. Raises PermafrostError where nobody answers."""
    with sigterm_kept():
        owned = _connect(address or os.environ.get("RAY_ADDRESS"))
    try:
        return _nodes()
    finally:
        if owned:
            ray.shutdown()


def _nodes() -> list[Node]:
    """Those that are there. One that is killed still is for about 15 s: until the head has missed its signs of life."""
    found = [(node, node["Resources"]) for node in ray.nodes() if node["Alive"]]
    return [Node(node["NodeID"], node["NodeManagerAddress"], has.get("CPU", 0.0), has.get("GPU", 0.0)) for node, has in found]


def _instrument(kind: str, name: str, what: str, tags: tuple[str, ...]) -> Record:
    """A metric of Ray's: exported where Ray has its agents, as ray[default] does (docs/metrics.md). Recording costs microseconds."""
    if kind == HISTOGRAM:
        return Histogram(name, what, list(SECONDS_BOUNDARIES), tags).observe  # type: ignore[no-any-return]
    return Counter(name, what, tags).inc if kind == COUNTER else Gauge(name, what, tags).set  # type: ignore[no-any-return]


def _want_node(wanted: bool) -> None:
    """Tell an autoscaler."""
    request_resources(num_cpus=int(wanted))


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
