"""What the exact heads take beside scikit-learn, and beside themselves: ratios of one run, as JSON.

    python -m scripts.bench_heads --out heads.json                      # 50,000 vectors of 2,048: minutes, nearly all scikit-learn's
    python -m scripts.bench_heads --rows 100000 --classes 10,100
    python -m scripts.bench_heads --set --set-rows 1000000              # ridge out of core, 4 GB of disk

Features are made: 256 hidden directions of falling size, mixed, rectified and stored as float16, as networks' are.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import storage
from scripts.bench_options import above_zero, at_least, mistakes_told, new_file
from scripts.bench_plan import SPACE, tell_result
from scripts.console import import_tensorflow
from storage.statistics import FOLDS, fold_of

WIDTH, HIDDEN = 2048, 256
LEAST_ROWS = 1000  # with items of all classes in each split
TOLERANCE = 1e-6
# Of the gradient of the mean loss. At scikit-learn's default, 1e-4, its loss was 0.2% above the least one (25,000 rows, 10 classes).
THEIR_TOLERANCE = 1e-6
Array = npt.NDArray[Any]


def made(rows: int, classes: int, width: int = WIDTH, seed: int = 0, separation: float = 0.2) -> tuple[Array, Array]:
    """Features [rows, width] float16 and class numbers [rows]."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((classes, HIDDEN), np.float32) * separation
    falling = np.arange(1, HIDDEN + 1, dtype=np.float32) ** -0.5
    mix = random.standard_normal((HIDDEN, width), np.float32) * falling[:, None] / np.sqrt((falling**2).sum())
    y, x = random.integers(0, classes, rows), np.empty((rows, width), np.float16)
    for start in range(0, rows, 8192):
        part = y[start : start + 8192]
        hidden = centres[part] + random.standard_normal((len(part), HIDDEN), np.float32)
        x[start : start + 8192] = np.maximum(hidden @ mix + 0.2 * random.standard_normal((len(part), width), np.float32), 0)
    return x, y


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = act()
    return time.perf_counter() - started, found


def median(act: Callable[[], Any], times: int) -> tuple[float, Any]:
    runs = [timed(act) for _ in range(times)]
    return statistics.median(seconds for seconds, _ in runs), runs[-1][1]


def objective(z: Array, y: Array, kernel: Array, bias: Array, c: float) -> float:
    """Of multinomial logistic regression, in float64."""
    total = (kernel.astype(np.float64) ** 2).sum() / (2 * c)
    for start in range(0, len(y), 8192):
        scores = z[start : start + 8192].astype(np.float64) @ kernel + bias
        top = scores.max(axis=1)
        found = np.log(np.exp(scores - top[:, None]).sum(axis=1)) + top - scores[np.arange(len(scores)), y[start : start + 8192]]
        total += found.sum()
    return float(total)


def bench_logistic(x: Array, y: Array, classes: int, c: float, times: int, theirs: bool) -> dict[str, Any]:
    """One fit to convergence, from float16 features to weights, and 32 strengths to choose from, as `train` and `sweep` choose.

    scikit-learn gets features that are standardised already.
    """
    from trainer.logistic import TO_CHOOSE, fit_path
    from trainer.standardise import spread

    fit_path(x[:256], y[:256] % classes, classes, [c])  # TensorFlow's first calls
    one, ((solution,), moments) = median(lambda: fit_path(x, y, classes, [c]), times)
    strengths = np.geomspace(c / 1000, c * 10, 32).tolist()
    path, (solutions, _) = timed(lambda: fit_path(x, y, classes, strengths, tolerance=TO_CHOOSE))
    z = ((x - moments.mean.astype(np.float32)) / spread(moments).astype(np.float32)).astype(np.float32)
    ours = objective(z, y, solution.weights.kernel, solution.weights.bias, c)
    found: dict[str, Any] = {
        "c": c,
        "seconds": one,
        "steps": solution.iterations,
        "loss": ours,
        "path": {"strengths": 32, "seconds": path, "fits": path / one, "steps": sum(each.iterations for each in solutions)},
    }
    if theirs:
        from sklearn.linear_model import LogisticRegression

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seconds, fitted = timed(lambda: LogisticRegression(C=c, tol=THEIR_TOLERANCE, max_iter=20_000).fit(z, y))
        loss = objective(z, y, fitted.coef_.T.astype(np.float64), fitted.intercept_, c)
        found["scikit_learn"] = {"seconds": seconds, "steps": int(fitted.n_iter_[0]), "loss": loss, "ours_over_theirs": one / seconds}
        found["scikit_learn"]["loss_over_ours"] = loss / ours - 1
        found["scikit_learn"]["reached"] = ours <= loss * (1 + TOLERANCE)
    return found


def bench_ridge(x: Array, y: Array, classes: int, times: int) -> dict[str, Any]:
    from trainer.ridge import fit_path

    alphas = np.geomspace(1e-4 * len(x), 10 * len(x), 32).tolist()
    one, (_, _) = median(lambda: fit_path(x, y, classes, [alphas[16]]), times)
    path, (heads, _) = median(lambda: fit_path(x, y, classes, alphas), times)
    return {"seconds": one, "path": {"strengths": len(heads), "seconds": path, "fits": path / one}}


def write_set(root: Path, rows: int, classes: int, per_shard: int = 50_000) -> str:
    """A set of made features; returns its name."""
    from scripts.made_set import MadeSet
    from storage.commit import commit, create_set
    from storage.feature_set import SetDescription
    from storage.files import FileEntry, private_file, publish_by_content
    from storage.names import SetName
    from storage.shard import shard_format
    from storage.shard_layout import ShardLayout

    name = SetName(root / "store", "team", "set")
    description = SetDescription(SPACE, "parquet", (WIDTH,), "float16", {"name": "made"}, "2026-01-01T00:00:00+00:00")
    create_set(name, description)
    whole, kind, layout = MadeSet(name, description), shard_format("parquet"), ShardLayout((WIDTH,), "float16", SPACE.id)
    shards: list[FileEntry] = []
    places: dict[int, tuple[str, int]] = {}
    labels: list[str] = []
    for start in range(0, rows, per_shard):
        x, y = made(min(per_shard, rows - start), classes, seed=start)
        with private_file(name.folder / "shards") as partial:
            writer = kind.writer(partial, layout)
            writer.append([whole.digest(start + i) for i in range(len(x))], [0] * len(x), x)
            count = writer.close()
            sha256, size = publish_by_content(partial, name.folder / "shards", kind.suffix)
        shards.append(FileEntry(f"shards/{sha256}{kind.suffix}", sha256, size, count))
        places |= {start + i: (sha256, i) for i in range(len(x))}
        labels += [f"class {code:03d}" for code in y]
    items = whole.items_table("made", {f"{i:08d}.jpg": i for i in range(rows)}, places)
    items = items.set_column(items.schema.get_field_index("label"), "label", pa.array(labels, pa.string()))
    items = items.set_column(items.schema.get_field_index("split"), "split", pa.nulls(rows, pa.string()))
    commit(name, None, whole.draft_of("made", items, shards), "made")
    return str(name)


def train_cold(uri: str, folder: Path, *further: str) -> dict[str, Any]:
    """`permafrost train --head ridge` in a process of its own: seconds of the clock, its peak memory, and what it says of itself."""
    import json

    command = [sys.executable, "-m", "scripts.cli", "train", uri, "--head", "ridge", "--out", str(folder / "head"), "--json", *further]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    seconds, done = timed(lambda: subprocess.run(command, capture_output=True, check=True))
    said = json.loads(done.stdout)
    peak = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024
    accuracy = said["metrics"]["test"]["accuracy"]
    return {"seconds": seconds, "fit_seconds": said["fit_seconds"], "peak_bytes": peak, "test_accuracy": accuracy, "chosen": said["chosen"]}


def bench_set(folder: Path, rows: int, classes: int) -> dict[str, Any]:
    """Ridge on a set that is streamed, split by whole folds: from nothing, and again with other labels."""
    uri = write_set(folder, rows, classes)
    feature_set = storage.open(uri)
    items = feature_set.columns("key", "digest", "label")
    folds, labels = fold_of(items["digest"]), items["label"].to_pylist()
    splits = np.array(["test"] * 4 + ["validation"] * 2 + ["train"] * (FOLDS - 6))[folds]
    found: dict[str, Any] = {"rows": rows}
    for name, chosen in (("cold", labels), ("other labels", [str(int(label[-3:]) // 2) for label in labels])):
        path = folder / "labels.parquet"
        pq.write_table(pa.table({"key": items["key"], "label": chosen, "split": splits}), path)
        found[name] = train_cold(uri, folder, "--labels", str(path))
    return found


def bench(rows: int, classes: list[int], width: int, c: float, times: int, theirs: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"rows": rows, "width": width, "heads": {}}
    for count in classes:
        x, y = made(rows, count, width)
        found["heads"][str(count)] = {
            "logistic": bench_logistic(x, y, count, c, times, theirs),
            "ridge": bench_ridge(x, y, count, times),
        }
    return found


def _classes(text: str) -> list[int]:
    return [at_least(2)(part) for part in text.split(",")]


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=at_least(LEAST_ROWS), default=50_000)
    parser.add_argument("--width", type=at_least(2), default=WIDTH)
    parser.add_argument(
        "--classes", type=_classes, default="10,100", metavar="N,N,...", help="numbers of classes, with commas between (default 10,100)"
    )
    parser.add_argument("--c", type=above_zero, default=0.01, help="inverse strength of one fit (default 0.01)")
    parser.add_argument("--times", type=at_least(1), default=3, help="runs that the median is of (default 3)")
    parser.add_argument("--alone", action="store_true", help="without scikit-learn")
    parser.add_argument("--set", action="store_true", help="instead: ridge on a set that is streamed, as a command")
    parser.add_argument("--set-rows", type=at_least(LEAST_ROWS), default=1_000_000)
    parser.add_argument("--out", type=new_file)
    args = parser.parse_args()
    if args.set and args.classes[0] < 4:
        parser.error("--set joins classes two by two: --classes must be 4 or more")
    import_tensorflow()
    if args.set:
        tell_result(lambda folder: bench_set(folder, args.set_rows, args.classes[0]), args.out)
    else:
        tell_result(lambda _: bench(args.rows, args.classes, args.width, args.c, args.times, not args.alone), args.out)


if __name__ == "__main__":
    main()
