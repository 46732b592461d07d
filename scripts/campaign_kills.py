"""Kills extractions at seeded random moments with SIGKILL, runs them again, and checks that nothing was lost or done twice.

python -m scripts.campaign_kills                         50 moments for each executor: the full campaign
python -m scripts.campaign_kills --moments 2 --json FILE
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import storage
from extractor.receipt import Receipt, embedded_digests
from scripts.process_tree import alive, command, descendants
from storage.golden import cosines
from storage.names import parse_set
from storage.runs import run_folders

EXECUTORS = ("local", "ray")
RAY_VICTIMS = ("driver", "worker", "driver", "worker", "driver", "claims")
_ACTORS = {"worker": "_Actor", "claims": "_Claims"}  # names of their processes
IMAGES, COPIES, BAD = 300, 20, 6
UNIT_ITEMS = 8  # about forty units, so that a moment has a before and an after
AT_START = 0.1  # share of the kills that fall before the work
SECONDS_TO_DIE = 60.0
_RECIPE = ["--backbone", "mobilenet", "--weights", "random:1", "--input-size", "32", "--dtype", "float32", "--max-rejects", "100%"]


@dataclass(frozen=True)
class Kill:
    """When and whom: `moment` as a share of the undisturbed run's work (or, `at_start`, of its start)."""

    executor: str
    victim: str  # driver | worker | claims (the register of who embeds what)
    at_start: bool
    moment: float


@dataclass
class Outcome:
    kill: Kill
    landed: str  # start | work | end (the run was over before the signal)
    finished: int = 0  # items in receipts when it was killed
    read: int = 0  # by the run after it
    embedded: int = 0  # by the run after it
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody killed: what its version holds, and how long start and work took."""

    contents: dict[str, tuple[bytes, str | None]]  # key -> digest, label
    keys: list[str]
    embeddings: np.ndarray
    rejects: dict[str, str]  # key -> reason
    start_seconds: float
    work_seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=50, help="kills for each executor (default 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--executors", default=",".join(EXECUTORS), help="local,ray (default both)")
    parser.add_argument("--json", metavar="FILE", help="write all outcomes there")
    args = parser.parse_args(arguments)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="permafrost-kills-") as folder:
        corpus = draw_corpus(Path(folder) / "photos", args.seed)
        for executor in args.executors.split(","):
            whole = undisturbed(corpus, f"{folder}/undisturbed-{executor}/team/photos", executor)
            for outcome in campaign(Path(folder) / executor, corpus, whole, executor, args.moments, args.seed):
                outcomes.append(outcome)
                say = "; ".join(outcome.problems) or "good"
                print(
                    f"{executor} {len(outcomes)}: {outcome.kill.victim} killed at {outcome.landed} {outcome.kill.moment:.2f}, "
                    f"{outcome.finished} items finished, then {outcome.read} read, {outcome.embedded} embedded: {say}",
                    flush=True,
                )
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    bad = sum(bool(outcome.problems) for outcome in outcomes)
    print(f"{len(outcomes)} kills, {bad} with problems; landed: {dict(Counter(outcome.landed for outcome in outcomes))}")
    return 1 if bad else 0


def campaign(folder: Path, corpus: Path, whole: Undisturbed, executor: str, moments: int, seed: int) -> Iterator[Outcome]:
    """Kill one run after another, each in a store of its own, and yield what came of it."""
    chance = random.Random(f"{seed}-{executor}")
    for number in range(moments):
        victim = RAY_VICTIMS[number % len(RAY_VICTIMS)] if executor == "ray" else "driver"
        kill = Kill(executor, victim, victim == "driver" and chance.random() < AT_START, chance.uniform(0, 1.1))
        root = folder / f"store-{number}"
        yield one(kill, corpus, f"{root}/team/photos", whole)
        shutil.rmtree(root, ignore_errors=True)


def draw_corpus(root: Path, seed: int, images: int = IMAGES) -> Path:
    """Small photographs in two classes, copies of some under other names, and a few files that are no images."""
    pixels = np.random.default_rng(seed)
    for label in ("ant", "bee"):
        (root / label).mkdir(parents=True)
    for i in range(images):
        buffer = io.BytesIO()
        Image.fromarray(pixels.integers(0, 255, (48, 48, 3), np.uint8)).save(buffer, "JPEG" if i % 2 else "PNG")
        path = root / ("ant", "bee")[i % 3 == 0] / f"{i:04d}.{'jpg' if i % 2 else 'png'}"
        path.write_bytes(buffer.getvalue())
        if i < COPIES:
            (root / "ant" / f"{images - i:04d}-copy{path.suffix}").write_bytes(buffer.getvalue())
        if i < BAD:
            (root / "bee" / f"{i * 40:04d}-bad.jpg").write_bytes(b"no image" + bytes([i]))
    return root


def undisturbed(corpus: Path, uri: str, executor: str) -> Undisturbed:
    return to_its_end(start(corpus, uri, executor), uri)


def to_its_end(process: subprocess.Popen[str], uri: str) -> Undisturbed:
    started = time.monotonic()
    wait_for_work(uri, process)
    working = time.monotonic()
    wait_for("versions/*.json", uri, process)  # not for its end: closing down Ray takes as long as the work, and is no work
    ended = time.monotonic()
    result(process)
    feature_set = storage.open(uri)
    keys, embeddings = feature_set.to_numpy()
    return Undisturbed(contents(feature_set), keys, embeddings, rejects(feature_set), working - started, ended - working)


def one(kill: Kill, corpus: Path, uri: str, whole: Undisturbed) -> Outcome:
    """Start, kill, look at what was finished, run again, compare."""
    process = start(corpus, uri, kill.executor)
    if kill.at_start:
        time.sleep(min(kill.moment, 1.0) * whole.start_seconds)
    else:
        wait_for_work(uri, process)
        time.sleep(kill.moment * whole.work_seconds)
    outcome = Outcome(kill, "end" if process.poll() is not None else "start" if kill.at_start else "work")
    finished = receipts(uri)
    if kill.victim != "driver":
        kill_an_actor(process, kill, outcome)
        answer = result(process)
        outcome.read, outcome.embedded = answer["read"], answer["embedded"]
    else:
        kill_tree_root(process)
        before = receipts(uri)
        outcome.finished = sum(receipt.items.num_rows for receipt in before)
        answer = result(start(corpus, uri, kill.executor))
        outcome.read, outcome.embedded = answer["read"], answer["embedded"]
        outcome.problems += done_again(before, receipts(uri)[len(before) :], answer)
    outcome.problems += differences(uri, whole)
    if kill.victim == "claims":  # what was under way may be embedded again, and is kept once; what was finished may not
        outcome.problems += embedded_again(finished, receipts(uri))
    else:
        outcome.problems += embedded_twice(receipts(uri))
    return outcome


def start(corpus: Path, uri: str, executor: str) -> subprocess.Popen[str]:
    return launch(corpus, uri, ["--local"] if executor == "local" else ["--workers", "2"])


def launch(
    corpus: Path, uri: str, where: Sequence[str], around: Callable[..., list[str]] | None = None, prelude: str = "", **options: Any
) -> subprocess.Popen[str]:
    """Start an extraction in small units. around: what the command is wrapped in; prelude: code before it; options: of Popen."""
    words = ["extract", str(corpus), uri, *_RECIPE, *where, "--json"]
    code = f"import sys, extractor.plan as p; p.MIN_UNIT_ITEMS, p.UNITS_AIMED_AT = {UNIT_ITEMS}, 10**6; "
    code += f"{prelude}from scripts.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *words]
    return subprocess.Popen(around(*command) if around else command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_for_work(uri: str, process: subprocess.Popen[str]) -> None:
    """The plan is written when the workers are ready."""
    wait_for("runs/*/plan.json", uri, process)


def wait_for(pattern: str, uri: str, process: subprocess.Popen[str]) -> None:
    """Wait until there is such a file in the set's folder, or the process has ended."""
    while process.poll() is None and not list(Path(uri).glob(pattern)):
        time.sleep(0.005)


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=300)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {err}")
    answer: dict[str, Any] = json.loads(out)
    return answer


def kill_tree_root(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the driver alone; then wait until its orphaned actors have noticed, so that what they finished is known."""
    orphans = [pid for pid in descendants(process.pid) if "_Actor" in command(pid)]
    process.kill()
    process.communicate()
    deadline = time.monotonic() + SECONDS_TO_DIE
    while any(alive(pid) for pid in orphans) and time.monotonic() < deadline:
        time.sleep(0.05)


def kill_an_actor(process: subprocess.Popen[str], kill: Kill, outcome: Outcome) -> None:
    found = [pid for pid in descendants(process.pid) if f"ray::{_ACTORS[kill.victim]}" in command(pid)]
    if found:
        os.kill(found[int(kill.moment * 1000) % len(found)], signal.SIGKILL)
    else:
        outcome.landed = "end"


def receipts(uri: str) -> list[Receipt]:
    """Of all runs of the set, oldest run first."""
    return [Receipt.from_table(table) for run in run_folders(parse_set(uri)) for table in run.receipts()]


def done_again(before: Sequence[Receipt], after: Sequence[Receipt], answer: dict[str, Any]) -> list[str]:
    """Items that a finished unit had settled must not be read again: the ones with a row, with a twin's row, or rejected."""
    placed = {
        d for r in before for d, row in zip(r.items["digest"].to_pylist(), r.items["row"].to_pylist(), strict=True) if row is not None
    }
    settled = {
        key
        for r in before
        for key, digest, reason in zip(*(r.items[name].to_pylist() for name in ("key", "digest", "reason")), strict=True)
        if reason or digest in placed
    }
    again = [key for r in after for key in r.items["key"].to_pylist()]
    problems = [f"{len(twice)} finished items were read again, such as {min(twice)}"] if (twice := settled & set(again)) else []
    if answer["read"] != len(again) or answer["listed"] != len(settled) + len(again):
        problems.append(f"{answer['listed']} listed, {len(settled)} settled before, {len(again)} in receipts, but {answer['read']} read")
    rows = sum(row is not None for r in after for row in r.items["row"].to_pylist())
    if answer["embedded"] != rows:
        problems.append(f"{answer['embedded']} embedded, {rows} new rows")
    return problems


def embedded_again(finished: Sequence[Receipt], found: Sequence[Receipt]) -> list[str]:
    """Images of units that were finished must have no other row."""
    units = {receipt.unit for receipt in finished}
    held = {digest for receipt in finished for digest in embedded_digests(receipt.items)}
    later = {digest for receipt in found if receipt.unit not in units for digest in embedded_digests(receipt.items)}
    return [f"{len(again)} images of finished units were embedded again"] if (again := held & later) else []


def embedded_twice(found: Sequence[Receipt]) -> list[str]:
    digests = Counter(digest for receipt in found for digest in embedded_digests(receipt.items))
    twice = sum(count - 1 for count in digests.values())
    return [f"{twice} images have two rows in finished units"] if twice else []


def differences(uri: str, whole: Undisturbed) -> list[str]:
    """Where the version differs from the undisturbed one: keys, digests, labels, rejects, embeddings beyond the tolerance."""
    feature_set = storage.open(uri)
    problems = []
    if contents(feature_set) != whole.contents:
        problems.append("other keys, digests or labels than undisturbed")
    if rejects(feature_set) != whole.rejects:
        problems.append("other rejects than undisturbed")
    keys, embeddings = feature_set.to_numpy()
    if keys == whole.keys and not cosines(embeddings, whole.embeddings).min() >= 0.99999:
        problems.append("embeddings outside the tolerance")
    return problems


def contents(feature_set: storage.FeatureSet) -> dict[str, tuple[bytes, str | None]]:
    columns = (feature_set.items[name].to_pylist() for name in ("key", "digest", "label"))
    return {key: (digest, label) for key, digest, label in zip(*columns, strict=True)}


def rejects(feature_set: storage.FeatureSet) -> dict[str, str]:
    return dict(zip(feature_set.rejects["key"].to_pylist(), feature_set.rejects["reason"].to_pylist(), strict=True))


if __name__ == "__main__":
    sys.exit(main())
