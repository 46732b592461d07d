"""What fewer bits gain and cost on the corpus at hand: the same images through the run's engine in float32 as well."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from extractor.engine import BatchEngine, Embeddings, OutOfMemoryError
from extractor.engine_choice import EngineChoice
from extractor.network import Network
from extractor.precision_plan import LEAST_BATCHES, SHARE, affordable, too_few_images, too_short
from extractor.weighed import Weighed
from storage.golden import cosines

# Of at most so many of the images that were drawn for this: uint8 [S, S, 3] each, and their content digests.
Load = Callable[[int], tuple[Sequence[npt.NDArray[np.uint8]], Sequence[bytes]]]


def weigh(network: Network, engine: EngineChoice, load: Load, of_run: int) -> Weighed:
    """of_run: images that a worker of the run is to embed, in all their views. The network has embedded before, and is warm.

    The cost is how many there are, least and median cosine to float32, and how much faster a batch is; or `left_out`, why in words, where
    that would take more than its share of the run. The embeddings are those of the network's set of the least number.
    """
    size = network.batch_size
    if of_run * network.kind.views.count < LEAST_BATCHES * size:
        return Weighed({"left_out": too_few_images(of_run)})  # without the time that finding it out would take
    _, seconds = _timed(network.engine, np.zeros((size, network.kind.size, network.kind.size, 3), np.uint8))
    run_seconds = of_run * network.kind.views.count * seconds / size
    if not (count := affordable(seconds, size, run_seconds)):
        return Weighed({"left_out": too_short(run_seconds)})
    images, digests = load(count)
    if not images:
        return Weighed({})
    pixels = np.stack(images)
    deadline = time.perf_counter() + SHARE * run_seconds
    try:
        fine = network.make(replace(engine, quantized=None, batch_size=size), precision="float32")
        fine.embed(pixels[:size])
    except OutOfMemoryError:
        return Weighed({"left_out": "not enough memory for the network in float32 beside its own precision"})
    both: list[tuple[list[Embeddings], list[Embeddings]]] = []
    spent = np.zeros(2)
    for start in range(0, len(pixels), size):  # in turn, so that what else the machine does hits both alike
        batch = pixels[start : start + size]
        (coarse, a), (exact, b) = _timed(network.engine, batch), _timed(fine, batch)
        both.append((coarse, exact))
        spent += (a, b)
        if time.perf_counter() + a + b > deadline:  # float32 is slower than was assumed
            break
    exact_of_first = np.concatenate([exact[network.numbers.index(min(network.numbers))] for _, exact in both])
    return Weighed(_told(both, spent), tuple(digests[: len(exact_of_first)]), exact_of_first)


def _told(both: Sequence[tuple[list[Embeddings], list[Embeddings]]], seconds: npt.NDArray[np.float64]) -> dict[str, Any]:
    """both: of each batch, what each cut gave in the run's precision and in float32. seconds: that all took in either."""
    of_batches = [[cosines(fine, coarse) for coarse, fine in zip(*pair, strict=True)] for pair in both]
    of_set = [np.concatenate(of_cut) for of_cut in zip(*of_batches, strict=True)]
    least, median = min(float(each.min()) for each in of_set), min(float(np.median(each)) for each in of_set)
    return {
        "images": len(of_set[0]),
        "cosine_least": round(least, 5),
        "cosine_median": round(median, 5),
        "times_as_fast": round(float(seconds[1] / seconds[0]), 2),
    }


def _timed(engine: BatchEngine, pixels: npt.NDArray[np.uint8]) -> tuple[list[Embeddings], float]:
    started = time.perf_counter()
    return engine.embed(pixels), time.perf_counter() - started
