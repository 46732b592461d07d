"""From JPEG files to embeddings on the disk: Permafrost beside the plain recipe, Ray Data and PyTorch, and what the stages allow.

    python -m scripts.bench_extract CORPUS --backbone resnet50 --weights random:0 --images 256 --rounds 3 --out extract.json

The first so many different JPEGs of the corpus, evenly chosen, are copied into one folder. In each round every way embeds them all, one
way after the other, each in a new process; medians of the rounds are told. The *work* of a way begins when its networks are built and have
been called once, and ends when the last embedding is on the disk: so starting TensorFlow or Ray, building and compiling do not count, for
all alike; filling and emptying pipelines does. The *whole* is the process from start to end. CPU seconds are those of all its processes.
What a way without its library would need is left out, and said so. --torch-path: folders of PyTorch and torchvision, for that peer alone.

All embeddings are stored in float32, also Permafrost's.

The limit is what the engine alone and decoding alone allow, measured in the same rounds: 1 / (1 / engine + 1 / decoding), as both need the
same cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from extractor.device import usable_cores
from extractor.recipe import Recipe
from scripts.bench_extract_job import BATCH, Task
from scripts.bench_extract_table import table
from scripts.bench_options import at_least, folder_of_jpegs, jpegs_in, mistakes_told, multiple_of, new_file
from scripts.tree_cpu import TreeCpu
from storage.errors import RunError

OURS, PEERS = "scripts.bench_extract_ours", "scripts.bench_extract_peers"
ENGINES = ("tensorflow float32", "tensorflow bfloat16", "openvino float32", "openvino bfloat16")  # alone, on ready batches


@dataclass(frozen=True)
class Way:
    """`module` has `function`, which takes the words `more`; `needs`: a library. `path`: folders that it alone may import from."""

    module: str
    function: str
    more: tuple[str, ...] = ()
    needs: str = ""
    path: str = ""

    @property
    def engine(self) -> str:
        """Of the words of `permafrost extract`: engine and precision, as in ENGINES."""
        words = dict(pairwise(self.more))
        return f"{words.get('--engine', 'tensorflow')} {words.get('--precision', 'float32')}"

    def is_there(self) -> bool:
        if not self.needs or find_spec(self.needs):
            return True
        return any(Path(folder, self.needs).is_dir() for folder in self.path.split(os.pathsep) if folder)


def ways(torch_path: str = "", further: Sequence[str] = ()) -> dict[str, Way]:
    """further: words of `permafrost extract`, of each way of ours that is to run beside the usual ones."""
    found = {f"permafrost {words}": Way(OURS, "permafrost", tuple(words.split())) for words in further}
    for precision in ("float32", "bfloat16"):
        found[f"permafrost --local, {precision}"] = Way(OURS, "permafrost", ("--local", "--precision", precision))
        found[f"permafrost, Ray, {precision}"] = Way(OURS, "permafrost", ("--precision", precision))
    found["model.predict, float32"] = Way(PEERS, "predict")
    found["Ray Data, float32"] = Way(PEERS, "ray_data", ("1",))
    found["PyTorch, bfloat16"] = Way(PEERS, "pytorch", ("2",), "torch", torch_path)
    return found


def bench(task: Task, chosen: Mapping[str, Way], engines: Sequence[str], rounds: int) -> dict[str, Any]:
    """task: with a folder to work in as `out`."""
    left_out = [name for name, way in chosen.items() if not way.is_there()]
    there = {name: way for name, way in chosen.items() if name not in left_out}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in there}
    alone: list[dict[str, dict[str, float]]] = []
    for number in range(rounds):
        alone.append(run(Way(OURS, "limits", tuple(engines)), task)["rates"])
        for name, way in there.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            runs[name].append(run(way, task))
    images = len(os.listdir(task.photos))
    return {
        "backbone": task.backbone,
        "weights": Path(task.weights).name,
        "images": images,
        "rounds": rounds,
        "cores": usable_cores(),
        "load": os.getloadavg()[0],
        "engines": {name: way.engine for name, way in there.items() if way.function == "permafrost"},
        "ways": {name: medians([_rates(each) for each in of_way]) for name, of_way in runs.items()},
        "alone": {name: medians([each[name] for each in alone]) for name in alone[0]},
        "runs": runs,
        "left_out": left_out,
    }


def run(way: Way, task: Task) -> dict[str, Any]:
    """One way in a process of its own. Raises RunError with the end of its stderr."""
    with tempfile.TemporaryDirectory(dir=task.out) as folder:
        command = [sys.executable, "-m", way.module, way.function, replace(task, out=folder, more=way.more).to_json()]
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), way.path)))
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": path}
        with open(Path(folder, "stderr"), "w+") as stderr:
            began = time.monotonic()
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=environment, text=True) as process:
                cpu = TreeCpu(process.pid)
                told, _ = process.communicate()
            ended = time.monotonic()
            cpu.stop()
            if process.returncode:
                stderr.seek(0)
                raise RunError(f"{way.module} {way.function} ended with {process.returncode}: {stderr.read()[-2000:]}")
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    if "began" in found:
        found |= {
            "cpu_seconds": cpu.between(found["began"], found["ended"]),
            "whole_seconds": ended - began,
            "whole_cpu_seconds": cpu.total,
        }
    return found


def _rates(found: Mapping[str, Any]) -> dict[str, float]:
    return {
        "images_per_second": found["images"] / (found["ended"] - found["began"]),
        "images_per_cpu_second": found["images"] / found["cpu_seconds"],
        "whole_seconds": found["whole_seconds"],
        "whole_cpu_seconds": found["whole_cpu_seconds"],
    }


def medians(of_rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in of_rounds) for name in of_rounds[0]}


def stage(corpus: Path, folder: Path, most: int) -> int:
    """Copy so many different JPEGs, evenly chosen and whole batches of them, into a flat folder; returns how many."""
    first_of: dict[bytes, Path] = {}
    for path in jpegs_in(corpus):
        first_of.setdefault(hashlib.sha256(path.read_bytes()).digest(), path)
    files = list(first_of.values())
    n = min(most, len(files)) // BATCH * BATCH
    for number, i in enumerate(_evenly(len(files), n)):
        shutil.copyfile(files[i], folder / f"{number:06d}.jpg")
    return n


def _evenly(of: int, n: int) -> Iterable[int]:
    return (i * of // n for i in range(n))


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=folder_of_jpegs, help="folder of JPEGs")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--weights", default="random:0", help="random:SEED or a file")
    parser.add_argument("--backbone-arg", action="append", default=[])
    parser.add_argument("--images", type=multiple_of(BATCH), default=256, help="different ones, at most so many as there are")
    parser.add_argument("--rounds", type=at_least(1), default=3)
    parser.add_argument("--only", nargs="+", metavar="PART", default=[""], help="only ways with one of these in their names")
    parser.add_argument("--ours", action="append", default=[], metavar="WORDS", help="a further way: '--local --engine openvino'")
    parser.add_argument("--torch-path", default="", help="folders with PyTorch and torchvision, as in PYTHONPATH")
    parser.add_argument("--out", type=new_file, help="JSON file")
    args = parser.parse_args()
    chosen = {name: way for name, way in ways(args.torch_path, args.ours).items() if any(part in name for part in args.only)}
    if not chosen:
        parser.error(f"--only {' '.join(args.only)} names no way: there are {', '.join(ways(args.torch_path, args.ours))}")
    engines = [name for name in ENGINES if find_spec(name.split()[0])]
    weights = args.weights if args.weights.startswith("random:") else str(Path(args.weights).absolute())
    size = Recipe(args.backbone, weights).input_size
    with tempfile.TemporaryDirectory(prefix="permafrost-bench-") as folder:
        photos = Path(folder, "photos")
        photos.mkdir()
        if not stage(args.corpus, photos, args.images):
            parser.error(f"{args.corpus} has fewer than {BATCH} different JPEGs, expected at least a batch")
        task = Task(str(photos), folder, args.backbone, weights, tuple(args.backbone_arg), size, usable_cores())
        found = bench(task, chosen, engines, args.rounds)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1))
    print(table(found))


if __name__ == "__main__":
    main()
