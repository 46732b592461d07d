"""One worker: a backbone built once, and units turned into shards. Knows nothing of Ray or of other workers."""

from __future__ import annotations

import itertools
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # before TensorFlow: the other order has crashed on some builds of both
import tensorflow as tf

from extractor import backbones
from extractor.claims import Claim
from extractor.content import locate
from extractor.engine import TensorFlowEngine
from extractor.job import Job, WorkerInfo
from extractor.limits import DEFAULT_LIMITS, Limits
from extractor.pipeline import DecodePipeline, Outcomes
from extractor.plan import Unit
from extractor.receipt import RECEIPT_FIELDS, Receipt
from extractor.recipe import Recipe
from extractor.stopwatch import Stopwatch
from storage.errors import RunError
from storage.files import FileEntry
from storage.golden import require_no_drift
from storage.new_shard import NewShard, new_shard
from storage.patience import full_disk_told
from storage.shard import shard_format
from storage.stored import UNSTORABLE, to_stored

_numbers = itertools.count(1)  # of the workers of this process


class Worker:
    def __init__(self, recipe: Recipe, threads: int = 2) -> None:
        self._recipe = recipe
        self._threads = threads
        self._name = f"{platform.node()}/{os.getpid()}/{next(_numbers)}"
        backbone = backbones.build(recipe)
        self._space = backbone.space
        self._views = recipe.view_policy
        self._engine = TensorFlowEngine(backbone)

    def info(self) -> WorkerInfo:
        gpus = tf.config.list_logical_devices("GPU")
        device = str(tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])["device_name"]) if gpus else "CPU"
        libraries = {name: version(name) for name in ("tensorflow", "keras", "pillow", "numpy")}
        environment = {"engine": "tensorflow", "device": device, "machine": platform.machine(), **libraries}
        return WorkerInfo(self._space, self._engine.shape, f"{platform.node()} ({device})", environment)

    def embed_images(self, images: Sequence[bytes]) -> npt.NDArray[np.generic]:
        """Embed a few encoded images, such as the golden ones, in all V views. [n * V, *shape] in the stored dtype.

        Raises RunError if one of them gives no embedding: with images known to be good, dtype or weights are at fault.
        """
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / str(i) for i in range(len(images))]
            for path, image in zip(paths, images, strict=True):
                path.write_bytes(image)
            embeddings, outcomes = self.embed_located([str(path) for path in paths])
        if outcomes.rejects:
            reason, message = next(iter(outcomes.rejects.values()))
            way_out = " (use --dtype float32)" if reason in UNSTORABLE and self._recipe.dtype == "float16" else ""
            raise RunError(f"{len(outcomes.rejects)} of {len(images)} known good images gave no embedding: {message}{way_out}")
        return embeddings

    def embed_located(self, locations: Sequence[str]) -> tuple[npt.NDArray[np.generic], Outcomes]:
        """Embed images at paths or URIs into memory: [n * V, *shape] in the stored dtype, the V views of an image together; rows of
        rejects are zero.

        Duplicates are embedded again.
        """
        pipeline = self._pipeline(locations, lambda digests: [True] * len(digests), DEFAULT_LIMITS)
        out = np.zeros((len(locations), self._views.count, *self._engine.shape), self._recipe.dtype)
        for positions, images in pipeline.batches():
            kept, embeddings = self._embed(positions, images, pipeline.outcomes)
            out[kept] = embeddings.reshape(len(kept), *out.shape[1:])
        return out.reshape(-1, *self._engine.shape), pipeline.outcomes

    def measure(self, locations: Sequence[str]) -> float:
        """Images a second of this worker, from files to features; 0.0 without any. Building the graph does not count."""
        if not locations:
            return 0.0
        self.embed_located(locations[:1])
        started = time.perf_counter()
        self.embed_located(locations)
        return len(locations) / (time.perf_counter() - started)

    def check(self, job: Job) -> None:
        """Embed the golden images; raises DriftError outside the tolerance."""
        if not job.golden.images:  # an imported set: its features were not made here
            return
        embedded = self.embed_images(job.golden.images)
        require_no_drift(job.golden, embedded, self._space.precision, self.info().where)

    def is_sound(self, job: Job) -> bool:
        """Whether it still embeds the golden images: after a failure, so that no image is blamed for a device that broke."""
        try:
            self.check(job)
        except Exception:  # noqa: BLE001 - a broken device may raise anything
            return False
        return True

    def run(self, unit: Unit, job: Job, claim: Claim) -> Receipt:
        """Embed what can be claimed of a unit, publish its shard, then its receipt."""
        locations, sizes = [locate(job.base, item) for item in unit.items], [item.bytes for item in unit.items]
        pipeline = self._pipeline(locations, claim, job.limits, sizes)
        with full_disk_told(job.run.set_folder):
            return self._run(unit, job, pipeline)

    def _run(self, unit: Unit, job: Job, pipeline: DecodePipeline) -> Receipt:
        kind = shard_format(job.format)
        with new_shard(job.run.set_folder, kind, job.layout, job.run.run_id) as shard:
            clock = Stopwatch()
            rows = self._fill(shard, pipeline, clock)
            entry = shard.publish()
            clock.lap("publish")
        receipt = self._receipt(unit, job, pipeline.outcomes, rows, entry, {**clock.seconds, **pipeline.outcomes.seconds})
        job.run.write_receipt(unit.id, receipt.to_table())
        return receipt

    def _fill(self, shard: NewShard, pipeline: DecodePipeline, clock: Stopwatch) -> dict[int, int]:
        """Embed all batches into the shard; returns row of view 0 by position."""
        rows: dict[int, int] = {}
        for positions, images in pipeline.batches():
            clock.lap("wait")
            kept, embeddings = self._embed(positions, images, pipeline.outcomes)
            clock.lap("infer")
            digests = [pipeline.outcomes.digests[position] for position in kept]
            rows.update({position: shard.rows + i * self._views.count for i, position in enumerate(kept)})
            shard.append([digest for digest in digests if digest], embeddings, self._views.count)
            clock.lap("write")
        clock.lap("wait")
        return rows

    def _embed(self, positions: list[int], images: tf.Tensor, outcomes: Outcomes) -> tuple[list[int], npt.NDArray[np.generic]]:
        """Embed the images at n positions, with their V views each: [n * V, ...].

        What the stored dtype cannot hold in all views, or memory not even alone, is a reject. Returns the positions and rows left.
        """
        views = self._views.count
        try:
            features = self._engine(images)
        except tf.errors.ResourceExhaustedError:  # the engine tried one image at a time; which of them was it?
            if len(positions) == 1:
                outcomes.rejects[positions[0]] = ("out-of-memory", "not enough memory for the network on one image here")
                return [], np.zeros((0, *self._engine.shape), self._recipe.dtype)
            parts = [self._embed([position], images[i * views : (i + 1) * views], outcomes) for i, position in enumerate(positions)]
            return [position for kept, _ in parts for position in kept], np.concatenate([rows for _, rows in parts])
        embeddings, faults = to_stored(features, self._recipe.dtype)
        bad = {row // views: fault for row, fault in faults.items()}
        outcomes.rejects |= {positions[i]: fault for i, fault in bad.items()}
        kept = np.array([i not in bad for i in range(len(positions))], np.bool_)
        return [position for position, is_kept in zip(positions, kept, strict=True) if is_kept], embeddings[np.repeat(kept, views)]

    def _pipeline(
        self, locations: Sequence[str], claim: Claim, limits: Limits, sizes: Sequence[int | None] | None = None
    ) -> DecodePipeline:
        engine, policy = self._engine, self._recipe.image_policy
        return DecodePipeline(locations, claim, engine.input_size, engine.batch_size, self._threads, policy, limits, sizes, self._views)

    def _receipt(
        self, unit: Unit, job: Job, outcomes: Outcomes, rows: dict[int, int], shard: FileEntry | None, seconds: dict[str, float]
    ) -> Receipt:
        n = range(len(unit.items))
        columns: dict[str, list[Any]] = {
            "key": [item.key for item in unit.items],
            "stamp": [item.stamp for item in unit.items],
            "digest": outcomes.digests,
            "row": [rows.get(i) for i in n],
            "reason": [outcomes.rejects[i][0] if i in outcomes.rejects else None for i in n],
            "message": [outcomes.rejects[i][1] if i in outcomes.rejects else None for i in n],
        }
        table = pa.table(columns, schema=pa.schema(RECEIPT_FIELDS))
        unstorable = sum(reason in UNSTORABLE for reason, _ in outcomes.rejects.values())
        decoded, embedded = len(outcomes.claimed), len(rows) + unstorable
        counters = {"read": outcomes.read, "bytes_read": outcomes.bytes_read, "decoded": decoded, "embedded": embedded}
        return Receipt(unit.id, job.corpus, shard, table, counters, seconds, self._name)
