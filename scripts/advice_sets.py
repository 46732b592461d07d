"""The feature sets of the tasks of the adviser's benchmark."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from scripts.advice_tasks import Task


def slug(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name.lower())


def set_of(task: Task, folder: Path, weights: Path) -> str:
    """The task's feature set, extracted where it is not there yet."""
    return extracted(task, folder, weights, task.backbone)


def extracted(task: Task, folder: Path, weights: Path, name: str, more: tuple[str, ...] = ()) -> str:
    """A set of the task's images and backbone by this name; more: words of the command."""
    from scripts.advice_outcomes import EXTRACTS, WEIGHTS, build_network

    uri = f"{folder}/store/{task.corpus}/{name}"
    if Path(uri).exists():
        return uri
    words = [*EXTRACTS[task.backbone], *more, "--input-size", str(task.size), "--local"]
    if task.backbone == "squeezenet":
        build_network(task.backbone, folder, weights, task.size)
        words += ["--backbone", str(folder / f"squeezenet_{task.size}.keras")]
    else:
        words += ["--weights", str(weights / WEIGHTS[task.backbone])]
    command = [sys.executable, "-m", "scripts.cli", "extract", str(folder / task.corpus), uri, *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return uri
