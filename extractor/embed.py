"""Embedding a few image files into memory, for prediction: the same decoding and network as extraction, without a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extractor.recipe import Recipe
from extractor.worker import Worker
from storage.space import Space, require_same_space


@dataclass(frozen=True)
class Embedded:
    """Embeddings [n, *shape] of the n images at `positions` of the request; `rejects` by position: (reason, message)."""

    positions: list[int]
    embeddings: npt.NDArray[np.generic]
    rejects: dict[int, tuple[str, str]]


def embed_files(paths: Sequence[Path], recipe: Recipe, expected: Space, owner: str, threads: int = 2) -> Embedded:
    """Embed image files in the space that `owner` expects. Raises SpaceMismatchError, naming the fields, before any image is read."""
    worker = Worker(recipe, threads)
    received = worker.info().space
    way_out = "Pass --weights FILE (or --backbone FILE for a model file) with what the features were made with"
    require_same_space(expected, received, owner, f"{recipe.name} with weights {recipe.weights}", way_out)
    embeddings, outcomes = worker.embed_files(paths)
    positions = [i for i in range(len(paths)) if i not in outcomes.rejects]
    return Embedded(positions, embeddings[positions], dict(sorted(outcomes.rejects.items())))
