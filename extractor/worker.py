"""One worker: backbones built once, and units turned into shards. Knows nothing of Ray or of other workers."""

from __future__ import annotations

import itertools
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow  # noqa: F401 - before TensorFlow: the other order has crashed on some builds of both
import tensorflow as tf

from extractor.claims import Claim
from extractor.content import locate
from extractor.decode_helper import Helper
from extractor.decode_stream import DecodeStream
from extractor.device import usable_cores
from extractor.engine import IN_FLIGHT, OutOfMemoryError
from extractor.engine_choice import AS_USUAL, EngineChoice
from extractor.engine_trial import EngineTrial
from extractor.golden_images import draw_golden_images
from extractor.helped_pipeline import HelpedPipeline
from extractor.helper_pool import HelperPool
from extractor.job import Job, WorkerInfo
from extractor.limits import DEFAULT_LIMITS, Limits
from extractor.make_engine import device_of
from extractor.network import Output, Part, Rejects, build_networks
from extractor.pipeline import DecodePipeline, Outcomes
from extractor.plan import Unit
from extractor.precision_cost import weigh
from extractor.receipt import Receipt
from extractor.recipe import Recipe
from extractor.refusals import float32_option
from extractor.turns import Turns
from extractor.unit_work import work_off
from extractor.weighed import Weighed
from storage.errors import DriftError, RunError, UnstorableError, UsageError
from storage.golden import GoldenImages, require_no_drift
from storage.stored import UNSTORABLE

_numbers = itertools.count(1)  # of the workers of this process


class Worker:
    """Of one feature set, or of several that are extracted together: then each recipe has its set, in their order."""

    def __init__(self, recipes: Sequence[Recipe], threads: int = 2, engine: EngineChoice = AS_USUAL) -> None:
        """Raises UsageError for an engine that this machine does not have."""
        self._threads, self._engine = threads, engine
        self._cautions: tuple[str, ...] = ()
        self._name = f"{platform.node()}/{os.getpid()}/{next(_numbers)}"
        self._networks = build_networks(recipes, engine, threads)
        self._kinds = list(dict.fromkeys(network.kind for network in self._networks))
        self._streams: dict[tuple[int, int], DecodeStream] = {}
        self._helpers: HelperPool | None = None
        self._turns = Turns()
        self._embeds = threading.Lock()  # an engine is not thread-safe, and golden images may be asked for beside a unit

    @property
    def _outputs(self) -> list[Output]:
        return sorted((o for network in self._networks for o in network.outputs), key=lambda output: output.number)

    def info(self) -> WorkerInfo:
        device = device_of(self._engine.name)
        libraries = {name: version(name) for name in dict.fromkeys((self._engine.kind.package, "tensorflow", "keras", "pillow", "numpy"))}
        environment = {"engine": self._engine.name, "device": device, "machine": platform.machine(), **libraries}
        where = f"{platform.node()} ({device})"
        told = (
            where,
            environment,
            self._threads,
            usable_cores(),
            replace(self._engine, batch_size=self._batch_size, quantized=None),
            self._cautions,
        )
        first, *also = [WorkerInfo(output.space, output.shape, *told) for output in self._outputs]
        return replace(first, also=tuple(also))

    def choose_engine(self, images: int, golden: Sequence[GoldenImages | None]) -> EngineChoice:
        """Take the fastest engine that is to be had here, measured if it pays for so many images. golden: of each set.

        The features of a set without any may stray no further from those of the default engine.
        """
        trial = EngineTrial(self._networks, images)
        if trial.is_worth_it():
            self._engine = trial.choose(partial(self._is_within_tolerance, self._with_own(golden)))
        else:
            self._engine = trial.default()
        return self._engine

    def use(self, engine: EngineChoice) -> None:
        """Go on with another engine. Raises UsageError as the constructor does, unless another worker chose it."""
        if engine == self._engine:
            return
        try:
            made = [network.make(engine) for network in self._networks]
        except (UsageError, OutOfMemoryError) as error:
            if not engine.measured:
                raise
            self._cautions = (f"{platform.node()} goes on with {self._engine.name}: {error}",)
            return
        for network, each in zip(self._networks, made, strict=True):
            network.take(engine, each)
        self._engine = engine

    def calibrate(self, locations: Sequence[str], limits: Limits) -> EngineChoice:
        """The engine of an int8 space, calibrated on those of these images that can be decoded. Raises RunError where none can."""
        pixels, digests = self._plain_images(locations, limits)
        if not pixels:
            raise RunError(
                f"--precision int8 is calibrated on images of the corpus, and none of {len(locations)} could be decoded within "
                f"{limits.bytes} bytes (--max-bytes) and {limits.pixels} pixels (--max-pixels): raise the limits, mend the images, or "
                "use another --precision, with which each of them becomes a reject"
            )
        packed = self._networks[0].calibrated(np.stack(pixels), digests)
        return EngineChoice("openvino", why=f"calibrated on {len(pixels)} images", quantized=packed)

    def weigh_precision(self, locations: Sequence[str], limits: Limits, of_run: int) -> Weighed:
        """Of the first network, on the first of these images, as many as the run can pay for, that can be decoded: see
        `extractor.precision_cost`. of_run: images to embed."""
        return weigh(self._networks[0], self._engine, lambda count: self._plain_images(locations[:count], limits), of_run)

    def _plain_images(self, locations: Sequence[str], limits: Limits) -> tuple[list[npt.NDArray[np.uint8]], list[bytes]]:
        """View 0 as the first network takes it, [S, S, 3] each, and the content digests, of what can be decoded; copies once."""
        everyone, views = (1 << len(self._outputs)) - 1, self._networks[0].kind.views.count
        pipeline = self._pipeline(locations, lambda digests: [everyone] * len(digests), limits)
        pixels: dict[int, npt.NDArray[np.uint8]] = {}
        for positions, images in pipeline.batches():
            pixels |= dict(zip(positions, np.asarray(images[self._kinds.index(self._networks[0].kind)])[::views], strict=True))
        digests = pipeline.outcomes.digests
        first_of = {digest: position for position in sorted(pixels, reverse=True) if (digest := digests[position])}
        chosen = sorted((position, digest) for digest, position in first_of.items())
        return [pixels[position] for position, _ in chosen], [digest for _, digest in chosen]

    def embed_images(self, images: Sequence[bytes]) -> tuple[npt.NDArray[np.generic], ...]:
        """Embed a few encoded images, such as the golden ones, in all V views. Of each set [n * V, *shape] in the stored dtype.

        Raises UnstorableError if one of them gives no embedding: with images known to be good, dtype or weights are at fault.
        """
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / str(i) for i in range(len(images))]
            for path, image in zip(paths, images, strict=True):
                path.write_bytes(image)
            embedded = self._embed_located([str(path) for path in paths])
        for output, (_, outcomes) in zip(self._outputs, embedded, strict=True):
            if outcomes.rejects:
                reason, message = next(iter(outcomes.rejects.values()))
                way_out = f" ({float32_option(output.number)})" if reason in UNSTORABLE and output.dtype == "float16" else ""
                found = f"{len(outcomes.rejects)} of {len(images)} known good images gave no embedding: {message}{way_out}"
                raise UnstorableError(found, output.number)
        return tuple(embeddings for embeddings, _ in embedded)

    def embed_located(self, locations: Sequence[str]) -> tuple[npt.NDArray[np.generic], Outcomes]:
        """Embed images at paths or URIs into memory, for the first set: [n * V, *shape] in the stored dtype, the V views of an image
        together; rows of rejects are zero.

        Duplicates are embedded again.
        """
        return self._embed_located(locations)[0]

    def measure(self, locations: Sequence[str]) -> float:
        """Images a second of this worker, from files to the features of all sets; 0.0 without any. Building the graph does not count, nor
        do files that give no image. Raises UnstorableError as `embed_images` does, which is what a run would meet first.
        """
        if not locations:
            return 0.0
        self.embed_images(tuple(draw_golden_images().values()))
        started = time.perf_counter()
        _, outcomes = self._embed_located(locations)[0]
        return (len(locations) - len(outcomes.rejects)) / (time.perf_counter() - started)

    def check(self, job: Job) -> None:
        """Embed the golden images of each set; raises DriftError outside the tolerance."""
        self._require_no_drift([each.golden for each in job.all_sets])

    def _require_no_drift(self, golden: Sequence[GoldenImages]) -> None:
        images = tuple(dict.fromkeys(image for each in golden for image in each.images))
        if not images:  # imported sets: their features were not made here
            return
        for output, each, embedded in zip(self._outputs, golden, self.embed_images(images), strict=True):
            if each.images:
                of_image = embedded.reshape(len(images), -1, *output.shape)
                mine = of_image[[images.index(image) for image in each.images]].reshape(-1, *output.shape)
                require_no_drift(each, mine, output.space.precision, self.info().where)

    def _is_within_tolerance(self, golden: Sequence[GoldenImages]) -> bool:
        try:
            self._require_no_drift(golden)
        except DriftError:
            return False
        return True

    def _with_own(self, golden: Sequence[GoldenImages | None]) -> list[GoldenImages]:
        """Images for those that have none, with what they embed to here and now."""
        drawn = draw_golden_images()
        own = self.embed_images(tuple(drawn.values()))
        return [
            each if each and each.images else GoldenImages(tuple(drawn), tuple(drawn.values()), mine)
            for each, mine in zip(golden, own, strict=True)
        ]

    def is_sound(self, job: Job) -> bool:
        """Whether it still embeds the golden images: after a failure, so that no image is blamed for a device that broke."""
        try:
            self.check(job)
        except Exception:  # noqa: BLE001 - a broken device may raise anything
            return False
        return True

    @property
    def decoded_units(self) -> int:
        """Of those under way. Where all are, `run` would begin to read another one at once."""
        return self._turns.decoded

    def use_helpers(self, helpers: Sequence[Helper]) -> None:
        """From now on they decode units with this worker; each call replaces those of the last one."""
        if self._helpers:
            self._helpers.close()
        self._helpers = HelperPool(helpers)

    def run(self, unit: Unit, job: Job, claim: Claim) -> Receipt:
        """Embed what can be claimed of a unit, publish a shard for each set, then the receipts.

        May be called for the next unit, from another thread, before it has returned: UNITS_AT_ONCE overlap as `extractor.turns` says.
        """
        locations, sizes = [locate(job.base, item) for item in unit.items], [item.bytes for item in unit.items]
        with self._turns.take() as turn:
            turn.await_decoding()
            pipeline = self._pipeline(locations, claim, job.limits, sizes, turn.decoded, self._helpers)
            return work_off(unit, job, pipeline, self._embed, turn, self._name)

    def _embed(self, positions: list[int], claimed: list[int], images: list[tf.Tensor]) -> list[Part]:
        with self._embeds:
            of_networks = [network.embed(positions, claimed, images[self._kinds.index(network.kind)]) for network in self._networks]
        return [part for parts in of_networks for part in parts]

    def _embed_located(self, locations: Sequence[str]) -> list[tuple[npt.NDArray[np.generic], Outcomes]]:
        everyone = (1 << len(self._outputs)) - 1
        pipeline = self._pipeline(locations, lambda digests: [everyone] * len(digests), DEFAULT_LIMITS)
        views = {o.number: network.kind.views.count for network in self._networks for o in network.outputs}
        out = [np.zeros((len(locations), views[output.number], *output.shape), output.dtype) for output in self._outputs]
        rejects: list[Rejects] = [{} for _ in out]
        for positions, images in pipeline.batches():
            for part in self._embed(positions, [everyone] * len(positions), images):
                rows = out[part.output.number]
                rows[part.positions] = part.embeddings.reshape(len(part.positions), *rows.shape[1:])
                rejects[part.output.number] |= part.rejects
        shared = pipeline.outcomes
        return [
            (rows.reshape(-1, *rows.shape[2:]), replace(shared, rejects={**shared.rejects, **own}))
            for rows, own in zip(out, rejects, strict=True)
        ]

    def _pipeline(
        self,
        locations: Sequence[str],
        claim: Claim,
        limits: Limits,
        sizes: Sequence[int | None] | None = None,
        on_taken: Callable[[], None] = lambda: None,
        helpers: HelperPool | None = None,
    ) -> DecodePipeline | HelpedPipeline:
        # Batches come together, so that an engine has the next one while it works on one.
        images = IN_FLIGHT * self._batch_size
        wanted = (images, limits.pixels)
        if wanted not in self._streams:
            self._streams = {wanted: DecodeStream(self._kinds, images, self._threads, limits.pixels)}
        stream = self._streams[wanted]
        if helpers:
            return HelpedPipeline(locations, claim, self._kinds, self._threads, limits, sizes, stream, helpers, on_taken)
        return DecodePipeline(locations, claim, self._kinds, images, self._threads, limits, sizes, stream, on_taken=on_taken)

    @property
    def _batch_size(self) -> int:
        return min(network.batch_size for network in self._networks)
