"""Many heads in one pass against one by one: seconds an epoch, and the ratios, of one run, as JSON.

    python -m scripts.bench_sweep --rows 20000 --width 2048 --heads 32 --out sweep.json

Features are Gaussian classes in float16, made up. `alone` is `train`'s solver (Keras' fit) on one head; `one` the pass with one head;
`together` the pass with all of them, who differ in strength.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from scripts.bench_options import at_least, mistakes_told, new_file
from scripts.console import import_tensorflow

STRENGTHS = (1e-4, 10.0)

Data = tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]]  # features [N, D] and class numbers [N]


def bench(rows: int, width: int, classes: Sequence[int], heads: int, epochs: int, repeats: int, batch_size: int) -> dict[str, Any]:
    found = {f"{count} classes": _one(_features(rows, width, count), count, heads, epochs, repeats, batch_size) for count in classes}
    return {"rows": rows, "width": width, "heads": heads, "epochs": epochs, "repeats": repeats, "batch_size": batch_size, "linear": found}


def _features(rows: int, width: int, classes: int) -> Data:
    random = np.random.default_rng(0)
    y = np.concatenate([np.arange(classes), random.integers(0, classes, rows - classes)])
    x = random.standard_normal((rows, width), np.float32)
    x += random.standard_normal((classes, width), np.float32)[y] * 0.1
    return x.astype(np.float16), y


def _one(data: Data, classes: int, heads: int, epochs: int, repeats: int, batch_size: int) -> dict[str, Any]:
    from trainer.fitting import FirstFit
    from trainer.options import FitOptions
    from trainer.solver import Solver
    from trainer.sweep_plan import Trial
    from trainer.sweep_ways import WAYS

    options = [
        FitOptions(c=float(c), batch_size=batch_size, max_epochs=10**6).for_features(data[0].shape[1:])
        for c in np.geomspace(*STRENGTHS, heads)
    ]
    work = _work(data, classes, options)
    train = np.flatnonzero(work.split.training[:, 0])

    def alone(count: int) -> None:
        Solver(work.data, work.task, options[0]).refit(train, FirstFit(None, {"epochs": count}))

    def together(count: int, these: int) -> None:
        WAYS["linear"].fit(work, [Trial(i, 0) for i in range(these)], [None] * these, count, lambda epoch: None)

    ways = {"alone": alone, "one": lambda count: together(count, 1), "together": lambda count: together(count, heads)}
    seconds = _seconds_an_epoch(ways, epochs, repeats)
    return {
        "seconds_an_epoch": {name: round(value, 4) for name, value in seconds.items()},
        "in_fits_of_train": round(seconds["together"] / seconds["alone"], 2),
        "in_passes_of_one": round(seconds["together"] / seconds["one"], 2),
        "cheaper_than_train_one_by_one": round(heads * seconds["alone"] / seconds["together"], 2),
    }


def _work(data: Data, classes: int, options: Sequence[Any]) -> Any:
    """Everyone trains but one item of each class, so that validation costs nothing that counts."""
    from trainer.features import LabelledFeatures
    from trainer.label_column import LabelColumn
    from trainer.labels import Joined, LabelReport
    from trainer.splits import NAMES, TRAIN, VALIDATION, GivenSplits, Split
    from trainer.sweep_split import SweepSplit
    from trainer.sweep_ways import WAYS
    from trainer.sweep_work import Work, frontend_of
    from trainer.task import task_of

    features, y = data
    codes = np.full(len(y), NAMES.index(TRAIN), np.int8)
    codes[:classes] = NAMES.index(VALIDATION)
    column = LabelColumn.of((str(label),) for label in y)
    joined = Joined(np.arange(len(y)), column, GivenSplits.of([None] * len(y)), LabelReport("made up"))
    labelled = LabelledFeatures(y, tuple(map(str, range(classes))), np.zeros((len(y), 4), np.uint64), joined, features, 1)
    training = (codes == NAMES.index(TRAIN)).astype(np.float32)[:, None]
    split = SweepSplit(Split(codes, False), training, 1 - training, resampled=False)
    frontend, moments = frontend_of(labelled, options[0], np.flatnonzero(training[:, 0]))
    return Work(labelled, task_of(False), split, frontend, moments, options[0], options, [0], WAYS)


def _seconds_an_epoch(ways: dict[str, Callable[[int], None]], epochs: int, repeats: int) -> dict[str, float]:
    """What `epochs` more than one cost: graphs, moments and the like, which all ways need once, are left out.

    The ways take turns, and the least of the repeats counts: what else the machine does only adds.
    """
    lengths = (1, 1 + epochs)
    found: dict[tuple[str, int], list[float]] = {(name, length): [] for name in ways for length in lengths}
    for fit in ways.values():
        fit(1)
    for _ in range(repeats):
        for name, length in found:
            started = time.perf_counter()
            ways[name](length)
            found[name, length].append(time.perf_counter() - started)
    return {name: (min(found[name, lengths[1]]) - min(found[name, 1])) / epochs for name in ways}


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=at_least(1000), default=20_000)
    parser.add_argument("--width", type=at_least(1), default=2048)
    parser.add_argument("--classes", type=at_least(2), nargs="+", default=[10, 100])
    parser.add_argument("--heads", type=at_least(1), default=32)
    parser.add_argument("--epochs", type=at_least(1), default=3)
    parser.add_argument("--repeats", type=at_least(1), default=3)
    parser.add_argument("--batch-size", type=at_least(1), default=256)
    parser.add_argument("--out", type=new_file)
    args = parser.parse_args()
    import_tensorflow()
    found = bench(args.rows, args.width, args.classes, args.heads, args.epochs, args.repeats, args.batch_size)
    text = json.dumps({"machine": platform.machine(), "cpus": os.cpu_count(), **found}, indent=2)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
