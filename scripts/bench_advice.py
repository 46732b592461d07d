"""How often is the adviser right? Advice and outcome on a grid of small tasks, as JSON.

    python -m scripts.bench_advice --clothing FOLDER --weights FOLDER --folder WORK --outcomes     # hours of training, kept in WORK
    python -m scripts.bench_advice --clothing FOLDER --weights FOLDER --folder WORK --out advice.json  # the advice, beside what is there

FOLDER of --clothing has class folders of photographs, that of --weights the files named in scripts/advice_outcomes.py. What a task reached
is kept in WORK/outcomes by task: a run that was stopped goes on, and another rule is judged without training anything again.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.advice_tasks import TASKS, Task, read_pixels, write_corpora, write_labels
from scripts.console import import_tensorflow

STRATEGIES = ("feature-extraction", "hybrid", "fine-tuning")
POINT = 0.01


def slug(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name.lower())


def set_of(task: Task, folder: Path, weights: Path) -> str:
    """The task's feature set, extracted where it is not there yet."""
    from scripts.advice_outcomes import EXTRACTS, WEIGHTS, build_network

    uri = f"{folder}/store/{task.corpus}/{task.backbone}"
    if not Path(uri).exists():
        words = list(EXTRACTS[task.backbone])
        if task.backbone == "squeezenet":
            build_network(task.backbone, folder, weights, task.size)
            words += ["--backbone", str(folder / f"squeezenet_{task.size}.keras")]
        elif task.backbone in WEIGHTS:
            words += ["--weights", str(weights / WEIGHTS[task.backbone])]
        command = [
            sys.executable,
            "-m",
            "scripts.cli",
            "extract",
            str(folder / task.corpus),
            uri,
            *words,
            "--input-size",
            str(task.size),
            "--local",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return uri


def outcome_of(task: Task, uri: str, labels: Path, pixels: dict[str, Any], folder: Path, weights: Path) -> dict[str, Any]:
    from scripts import advice_outcomes as ways

    with open(labels, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    classes = tuple(sorted({row["label"] for row in rows}))
    examples = ways.Examples.of(rows, pixels, classes)
    frozen, head = ways.feature_extraction(uri, labels)
    cosine = ways.check_features(uri, task.backbone, ways.build_network(task.backbone, folder, weights, task.size), pixels)
    if cosine < 0.999:
        raise SystemExit(f"the network trained here is not that of {uri}: cosine {cosine:.4f}")
    tail = ways.hybrid(task.backbone, ways.build_network(task.backbone, folder, weights, task.size), head, examples)
    tuned = ways.fine_tuning(task.backbone, ways.build_network(task.backbone, folder, weights, task.size), head, examples, task.flips)
    return {name: each.to_dict() for name, each in zip(STRATEGIES, (frozen, tail, tuned), strict=True)}


def run_outcomes(folder: Path, clothing: Path, weights: Path, tasks: tuple[Task, ...], most: int | None) -> None:
    import keras

    (folder / "outcomes").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    if not (folder / "plain").exists():
        write_corpora(clothing, folder)
    for task in tasks:
        path = folder / "outcomes" / f"{slug(task.name)}.json"
        if path.exists():
            continue
        pixels = read_pixels(folder / task.corpus)
        labels = folder / "labels" / f"{slug(task.name)}.csv"
        counts = write_labels(task, pixels, labels, most)
        found = outcome_of(task, set_of(task, folder, weights), labels, pixels, folder, weights)
        path.write_text(json.dumps({"task": task.name, "counts": counts, "reached": found}, indent=1))
        print(task.name, {name: round(each["accuracy"], 3) for name, each in found.items()}, file=sys.stderr, flush=True)
        keras.backend.clear_session()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clothing", type=Path, required=True, help="folder of class folders of photographs")
    parser.add_argument("--weights", type=Path, required=True, help="folder of weights files")
    parser.add_argument("--folder", type=Path, required=True, help="for images, sets, labels and outcomes; what is there is used")
    parser.add_argument("--outcomes", action="store_true", help="train what has no outcome yet")
    parser.add_argument("--only", default="", help="tasks with this in their name")
    parser.add_argument("--most", type=int, help="training images of a class of clothes at most, for a short run")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    import_tensorflow()
    tasks = tuple(task for task in TASKS if args.only in task.name)
    if args.outcomes:
        run_outcomes(args.folder, args.clothing, args.weights, tasks, args.most)


if __name__ == "__main__":
    main()
