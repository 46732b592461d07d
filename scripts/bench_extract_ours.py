"""Permafrost's ways of `bench_extract`: the command itself, and what bounds it, the engine and the decoding each alone.

The work of an extraction begins when its workers are ready and ends with the version committed; files are read, hashed and claimed in it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from extractor.limits import DEFAULT_LIMITS
from extractor.rounds import Progress
from scripts.bench_extract_job import BATCH, Task, given, now, tell
from storage.errors import PermafrostError


def permafrost(task: Task) -> None:
    """As `permafrost extract` with the words of task.more; float32 is stored, as by the peers."""
    from extractor import extract
    from scripts.cli import build_parser
    from scripts.console import import_tensorflow
    from scripts.extract_options import make_options

    words = ["--backbone", task.backbone, "--weights", task.weights, "--input-size", str(task.size), "--dtype", "float32", *task.more]
    words += [f"--backbone-arg={arg}" for arg in task.backbone_args]
    args = build_parser().parse_args(["extract", str(task.photos), f"{task.out}/bench/photos", *words])
    if args.local:
        import_tensorflow()
    began: list[float] = []

    def show(_: Progress) -> None:
        began.append(now())

    result = extract(args.corpus, args.set, make_options(args), show)
    assert result.rows == result.listed, f"{result.rows} rows of {result.listed} images: {result.reasons}"
    seconds = sum(result.stage_seconds[stage] for stage in ("work", "lend", "commit"))
    tell(began[0], began[0] + seconds, result.rows, stages=result.stage_seconds)


def limits(task: Task) -> None:
    """Decoding alone and each engine alone, one after the other, on the same images."""
    from extractor.backbones import build
    from extractor.device import prepare_process
    from extractor.input_kind import input_kind
    from extractor.pipeline import DecodePipeline
    from scripts.bench_engine import engine_of

    prepare_process(task.threads, use_gpus=False)
    recipe = task.recipe
    files = sorted(str(path) for path in Path(task.photos).iterdir())

    def decoded(files: list[str]) -> list[Any]:
        pipeline = DecodePipeline(files, lambda digests: [1] * len(digests), [input_kind(recipe)], BATCH, task.threads, DEFAULT_LIMITS)
        return [images for _, [images] in pipeline.batches()]

    decoded(files[:BATCH])  # TensorFlow traces
    found, batches = _timed(len(files), lambda: decoded(files))
    rates = {"decoding": found}
    backbone = build(recipe)
    for name in task.more:
        engine, _, precision = name.partition(" ")
        made = engine_of(engine, replace(backbone, recipe=replace(backbone.recipe, precision=precision)), np.asarray(batches[0]))
        made(batches[0])
        rates[name], _ = _timed(len(files), lambda made=made: [made(batch) for batch in batches])  # type: ignore[misc]
    print(json.dumps({"rates": rates}))


def _timed(images: int, work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    began, spent = time.perf_counter(), time.process_time()
    result = work()
    clock, cpu = time.perf_counter() - began, time.process_time() - spent
    return {"images_per_second": images / clock, "images_per_cpu_second": images / cpu}, result


if __name__ == "__main__":
    way, task = given()
    try:
        {"permafrost": permafrost, "limits": limits}[way](task)
    except PermafrostError as error:
        sys.exit(str(error))
