"""Embedding images into memory, for prediction: the same decoding and network as extraction, without a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extractor.engine_choice import EngineChoice, default_engine
from extractor.recipe import Recipe
from extractor.worker import Worker
from storage.shard import embedding_bytes
from storage.space import Space, require_same_space

BATCH_IMAGES = 1024  # each batch has a pipeline of its own, whose start costs a quarter of a second
BATCH_BYTES = 64 << 20  # 64 MiB of embeddings: fewer images where these are maps


@dataclass(frozen=True)
class Embedded:
    """Embeddings [n, *shape] of the n images at `positions` of the request, ascending; `rejects` by position: (reason, message)."""

    positions: list[int]
    embeddings: npt.NDArray[np.generic]
    rejects: dict[int, tuple[str, str]]


def embed_images(
    locations: Sequence[str], recipe: Recipe, expected: Space, owner: str, threads: int = 2, quantized: bytes | None = None
) -> Iterator[Embedded]:
    """Embed images (paths or URIs) in the space that `owner` expects, batch after batch, with one network and in memory for one batch.

    quantized: the calibrated network of an int8 space. Raises SpaceMismatchError, naming the fields, before any image is read.
    """
    worker = Worker((recipe,), threads, EngineChoice(default_engine([recipe]), quantized=quantized))
    info = worker.info()
    way_out = "Pass --weights FILE (or --backbone FILE for a model file) with what the features were made with"
    require_same_space(expected, info.space, owner, f"{recipe.name} with weights {recipe.weights}", way_out)
    size = max(1, min(BATCH_IMAGES, BATCH_BYTES // embedding_bytes(info.shape, recipe.dtype)))
    return (_embed(worker, locations, range(start, min(start + size, len(locations)))) for start in range(0, len(locations), size))


def _embed(worker: Worker, locations: Sequence[str], wanted: range) -> Embedded:
    embeddings, outcomes = worker.embed_located(locations[wanted.start : wanted.stop])
    kept = [i for i in range(len(wanted)) if i not in outcomes.rejects]
    rejects = {wanted[i]: fault for i, fault in sorted(outcomes.rejects.items())}
    return Embedded([wanted[i] for i in kept], embeddings[kept], rejects)
