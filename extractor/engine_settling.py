"""The engine of a run that is to find it out, or to calibrate its network: what is asked for it, and what becomes of the answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from random import Random

from extractor.content import locate
from extractor.corpus import Items
from extractor.engine_choice import EngineChoice
from extractor.executor import Executor
from extractor.forecast import spread
from extractor.job import WorkerInfo
from extractor.precision_plan import drawn
from extractor.set_run import SetRun
from extractor.weighed import Weighed

logger = logging.getLogger(__name__)

CALIBRATION_IMAGES = 200  # NNCF takes 300 unless it is told otherwise; 96 had MobileNetV2 at the tolerance (docs/benchmarks.md)


def choose_engine(executor: Executor, sets: Sequence[SetRun], images: int) -> list[WorkerInfo]:
    """Of all workers, with the engine that is fastest. images: that one worker is to embed. Raises as `SetRun.check` does."""
    chosen: EngineChoice = executor.ask_one("choose_engine", images, [each.golden() for each in sets])
    workers = executor.use_engine(chosen)
    for each, worker in zip(sets, workers[0].all_sets, strict=True):
        each.check(worker)
    logger.warning("engine %s: %s", chosen.name, chosen.why)
    return workers


def settle_quantized(executor: Executor, own: SetRun) -> list[WorkerInfo]:
    """Of all workers, with the calibrated network of an int8 set: the one that it has, also before its first version, or a new one, by
    images spread over its corpus."""
    golden = own.golden()
    if golden and golden.quantized:
        engine = EngineChoice("openvino", why="calibrated as this set was", quantized=golden.quantized)
    else:
        items = spread(own.listing.items, CALIBRATION_IMAGES)
        engine = executor.ask_one("calibrate", [locate(own.listing.base, item) for item in items], own.options.limits)
    own.quantized = engine.quantized
    return executor.use_engine(engine)


def weigh_precision(executor: Executor, own: SetRun, files: Items, of_worker: int) -> Weighed:
    """What fewer bits gain and cost (`extractor.precision_cost`), on images spread over those to read, or why that is left out.

    of_worker: images that one worker is to embed.
    """
    chosen = spread(files, drawn(of_worker))
    Random(0).shuffle(chosen)  # a worker weighs the first ones, as many as the run can pay for: else these were the first classes
    locations = [locate(own.listing.base, item) for item in chosen]
    weighed: Weighed = executor.ask_one("weigh_precision", locations, own.options.limits, of_worker)
    return weighed
