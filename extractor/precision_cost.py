"""What fewer bits gain and cost on the corpus at hand: the same images through the run's engine in float32 as well."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from extractor.engine import BatchEngine
from extractor.engine_choice import EngineChoice
from extractor.network import Network
from storage.golden import cosines

ROUNDS = 2


def weigh(network: Network, engine: EngineChoice, images: Sequence[npt.NDArray[np.uint8]]) -> dict[str, Any]:
    """images: uint8 [S, S, 3] each. Returns how many there are, least and median cosine to float32, and how much faster a batch is."""
    pixels = np.stack(images)
    fine = network.make(replace(engine, quantized=None), precision="float32")
    both = (network.engine, fine)
    of_set = [cosines(of_fine, of_run) for of_fine, of_run in zip(fine.embed(pixels), network.engine.embed(pixels), strict=True)]
    seconds = np.min([[_seconds(each, pixels) for each in both] for _ in range(ROUNDS)], axis=0)
    least, median = min(float(each.min()) for each in of_set), min(float(np.median(each)) for each in of_set)
    return {
        "images": len(pixels),
        "cosine_least": round(least, 5),
        "cosine_median": round(median, 5),
        "times_as_fast": round(float(seconds[1] / seconds[0]), 2),
    }


def _seconds(engine: BatchEngine, pixels: npt.NDArray[np.uint8]) -> float:
    started = time.perf_counter()
    engine.embed(pixels)
    return time.perf_counter() - started
