"""How often is the adviser right? Advice and outcome on a grid of small tasks, as JSON.

    python -m scripts.bench_advice --clothing FOLDER --weights FOLDER --folder WORK --outcomes --out advice.json  # an hour or two
    python -m scripts.bench_advice --clothing FOLDER --weights FOLDER --folder WORK --out advice.json  # the advice on what WORK holds

FOLDER of --clothing has class folders of photographs, that of --weights the files named in scripts/advice_outcomes.py. What a task reached
is kept in WORK/outcomes by task: a run that was stopped goes on, and another rule is judged without training anything again.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from scripts.advice_sets import set_of, slug
from scripts.advice_tasks import TASKS, Task, read_pixels, write_corpora, write_labels
from scripts.bench_options import at_least, mistakes_told, new_file
from scripts.console import import_tensorflow

STRATEGIES = ("feature-extraction", "hybrid", "fine-tuning")
POINT = 0.01


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


def run_commands(folder: Path, weights: Path, tasks: tuple[Task, ...]) -> None:
    """Of tasks whose outcome is known."""
    from scripts.advice_commands import by_commands

    (folder / "commands").mkdir(exist_ok=True)
    for task in tasks:
        path, known = (folder / name / f"{slug(task.name)}.json" for name in ("commands", "outcomes"))
        if known.exists() and not path.exists():
            path.write_text(json.dumps(by_commands(task, folder, weights, folder / "labels" / f"{slug(task.name)}.csv"), indent=1))
            print(task.name, path.read_text(), file=sys.stderr, flush=True)


def advice_for(task: Task, folder: Path) -> dict[str, Any]:
    """What `permafrost advise` would take for the task, of which it sees the set and the label file, without the evidence it only shows."""
    from trainer.advice_evidence import facts_of, scores_of
    from trainer.advice_pool import features_of, pool_of
    from trainer.advice_rule import decide
    from trainer.options import FitOptions

    pool = pool_of(f"{folder}/store/{task.corpus}/{task.backbone}", folder / "labels" / f"{slug(task.name)}.csv", FitOptions())
    scores = scores_of(pool, features_of(pool.feature_set, pool.positions))
    return {**decide(facts_of(pool, scores)).to_dict(), "logme": scores.logme, "h_score": scores.h_score}


def judged(strategy: str, reached: dict[str, Any]) -> dict[str, Any]:
    """The choice beside the best: how much is lost, and whether the test items could show a difference at all (McNemar)."""
    from trainer.comparison import mcnemar

    best = max(reached, key=lambda name: reached[name]["accuracy"])
    ours, theirs = (np.array(list(reached[name]["right"])) == "1" for name in (strategy, best))
    lost = reached[best]["accuracy"] - reached[strategy]["accuracy"]
    p = mcnemar(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))
    return {"best": best, "lost": lost, "is_right": lost <= POINT + 1e-9, "is_shown_wrong": lost > POINT + 1e-9 and p < 0.05}


def run_advice(folder: Path, tasks: tuple[Task, ...]) -> dict[str, Any]:
    """Of the tasks that have an outcome. `always`: how often each strategy would have been right, were it taken every time."""
    rows = []
    for task in tasks:
        path = folder / "outcomes" / f"{slug(task.name)}.json"
        if not path.exists():
            continue
        known = json.loads(path.read_text())
        advice = advice_for(task, folder)
        reached = {name: {key: value for key, value in each.items() if key != "right"} for name, each in known["reached"].items()}
        commands = folder / "commands" / path.name
        checked = json.loads(commands.read_text()) if commands.exists() else None
        verdict = judged(advice["strategy"], known["reached"])
        rows.append({**known, "reached": reached, "by_commands": checked, "advice": advice, **verdict})
        print(task.name, advice["strategy"], rows[-1]["best"], round(rows[-1]["lost"], 3), file=sys.stderr, flush=True)
    always = {name: sum(_is_right(row["reached"], name) for row in rows) for name in STRATEGIES}
    right, wrong = (sum(row[name] for row in rows) for name in ("is_right", "is_shown_wrong"))
    return {"tasks": len(rows), "right": right, "shown_wrong": wrong, "always": always, "rows": rows}


def _is_right(reached: dict[str, Any], name: str) -> bool:
    return bool(max(each["accuracy"] for each in reached.values()) - reached[name]["accuracy"] <= POINT + 1e-9)


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clothing", type=Path, required=True, help="folder of class folders of photographs")
    parser.add_argument("--weights", type=Path, required=True, help="folder of weights files")
    parser.add_argument("--folder", type=Path, required=True, help="for images, sets, labels and outcomes; what is there is used")
    parser.add_argument("--outcomes", action="store_true", help="train what has no outcome yet")
    parser.add_argument(
        "--commands", action="store_true", help="check outcomes by `permafrost train --strategy ...`, whose defaults differ"
    )
    parser.add_argument("--only", default="", help="tasks with this in their name")
    parser.add_argument("--most", type=at_least(1), help="training images of a class of clothes at most, for a short run")
    parser.add_argument("--out", type=new_file)
    args = parser.parse_args()
    import_tensorflow()
    tasks = tuple(task for task in TASKS if args.only in task.name)
    if args.outcomes:
        run_outcomes(args.folder, args.clothing, args.weights, tasks, args.most)
    if args.commands:
        run_commands(args.folder, args.weights, tasks)
    text = json.dumps(run_advice(args.folder, tasks), indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
