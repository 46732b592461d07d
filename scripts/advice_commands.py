"""What each strategy reaches on a task by the commands that a user has, with their own defaults: is it what the plain loops say?

Feature extraction is `train`'s own there, too. Hybrid and fine-tuning differ from the loops in what `train` does by itself: it holds out
15% of the training items to stop by (and a fine-tuned network never sees these), and has rates, stages and augmentation of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.advice_sets import extracted, set_of, slug
from scripts.advice_tasks import Task

AUGMENTATION_WITHOUT_FLIPS = "crop=0.75,brightness=0.1,contrast=0.1"
COMMANDS = ("hybrid", "fine-tuning")


def by_commands(task: Task, folder: Path, weights: Path, labels: Path) -> dict[str, Any]:
    """By strategy: test accuracy, seconds, epochs kept, and the words of the command."""
    from scripts.advice_outcomes import CUTS

    cut = extracted(task, folder, weights, f"{task.backbone}-cut", ("--layer", CUTS[task.backbone], "--pooling", "none"))
    flips = () if task.flips else ("--augment", AUGMENTATION_WITHOUT_FLIPS)
    uris = {"hybrid": (cut,), "fine-tuning": (set_of(task, folder, weights), *flips)}
    return {strategy: _trained(strategy, uris[strategy], labels, folder / "heads" / slug(task.name)) for strategy in COMMANDS}


def _trained(strategy: str, words: tuple[str, ...], labels: Path, heads: Path) -> dict[str, Any]:
    uri, *more = words
    said = ["--labels", str(labels), "--split-by", "given", "--strategy", strategy, *more]
    command = [sys.executable, "-m", "scripts.cli", "train", uri, *said, "--out", str(heads / strategy), "--json"]
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {
        "accuracy": told["metrics"]["test"]["accuracy"],
        "seconds": told["seconds"],
        "epochs": told["epochs"],
        "how": " ".join(["train", *said[2:]]),
    }
