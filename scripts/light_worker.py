"""A worker without a network: what a campaign of kills needs of one, in a process that starts in a second instead of seven.

Everything but TensorFlow is real: it reads, hashes, claims, decodes with Pillow, and publishes shards and receipts. An embedding is made
of sums over the pixels. `prelude` makes a driver's actors such workers.
"""

from __future__ import annotations

import hashlib
import io
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from extractor.claims import Claim
from extractor.content import locate, read_content
from extractor.engine_choice import EngineChoice
from extractor.job import Job, WorkerInfo
from extractor.plan import Unit
from extractor.receipt import Receipt, items_table
from extractor.recipe import Recipe
from storage.golden import require_no_drift
from storage.new_shard import new_shard
from storage.shard import shard_format
from storage.space import Space

WIDTH = 16  # values of an embedding


class LightWorker:
    def __init__(self, seconds: float, recipes: Sequence[Recipe], threads: int, engine: EngineChoice) -> None:
        self._seconds, self._recipe = seconds, recipes[0]

    def info(self) -> WorkerInfo:
        space = Space("light", "light", "sums", "avg", 32, self._recipe.image_policy, "tf", "float32", self._recipe.dtype)
        return WorkerInfo(space, (WIDTH,), platform.node(), {"device": "CPU", "engine": "sums"})

    def use(self, engine: EngineChoice) -> None:
        """There is one."""

    def embed_images(self, images: Sequence[bytes]) -> Any:
        return (np.stack([self._embed(image) for image in images]),)

    def check(self, job: Job) -> None:
        require_no_drift(job.golden, self.embed_images(job.golden.images)[0], "float32", self.info().where)

    def is_sound(self, job: Job) -> bool:
        return True

    def run(self, unit: Unit, job: Job, claim: Claim) -> Receipt:
        time.sleep(self._seconds)
        contents = [read_content(locate(job.base, item)) for item in unit.items]
        digests = [hashlib.sha256(content.encoded).digest() for content in contents]
        rows: dict[int, int] = {}
        rejects: dict[int, tuple[str, str]] = {}
        with new_shard(job.run.set_folder, shard_format(job.format), job.layout, job.run.run_id) as shard:
            for position, mine in enumerate(claim(digests)):
                if not mine:
                    continue
                try:
                    embedding = self._embed(contents[position].encoded)
                except OSError as error:
                    rejects[position] = ("not-an-image", str(error))
                    continue
                shard.append([digests[position]], embedding[None])
                rows[position] = len(rows)
            entry = shard.publish()
        table = items_table(unit.items, digests, rows, rejects)
        size = sum(len(content.encoded) for content in contents)
        counters = {"read": len(digests), "bytes_read": size, "decoded": len(rows), "embedded": len(rows)}
        receipt = Receipt(unit.id, job.corpus, entry, table, counters, {}, platform.node())
        job.run.write_receipt(unit.id, receipt.to_table())
        return receipt

    def _embed(self, encoded: bytes) -> Any:
        pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"), np.float32)
        return np.resize(pixels.mean(axis=1).ravel(), WIDTH).astype(self._recipe.dtype)


def prelude(seconds: float) -> str:
    """Code that makes all actors of a driver such workers, which take so many seconds more for a unit."""
    return f"from scripts.light_worker import use; use({seconds}); "


def use(seconds: float) -> None:
    from extractor import ray_executor

    ray_executor.RayExecutor.actor_class = actor_class(partial(LightWorker, seconds))


def actor_class(worker: Callable[[Recipe, int], Any]) -> type:
    """Actors with workers made by this function, which gets what `extractor.worker.Worker` does."""
    from extractor import ray_executor

    class Light(ray_executor._Actor):
        def build(self, *args: Any) -> WorkerInfo:
            module = ModuleType("extractor.worker")
            module.Worker = worker  # type: ignore[attr-defined]
            sys.modules["extractor.worker"] = module
            # What it prepares is TensorFlow, which would load it.
            sys.modules["extractor.worker_process"].__dict__["prepare_process"] = lambda threads, use_gpus: None
            return super().build(*args)

    Light.__name__ = Light.__qualname__ = "_Actor"  # names its process
    return Light
