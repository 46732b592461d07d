"""Lets 16 processes commit to one set at once, kills them at seeded random moments with SIGKILL, and checks that nothing was lost.

python -m scripts.campaign_writers                       200 rounds on a disk: the full campaign
python -m scripts.campaign_writers --place s3 --rounds 20 --seed 7 --json FILE      on an S3 server in this process (moto)

In one round each writer replaces a corpus of its own; in the next all add items to one corpus, and meet conflicts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from scripts.made_set import MadeSet, made_space, new_set
from scripts.set_writer import ADDED, SHARED, picture_of, write
from storage.gc import collect_garbage
from storage.manifest import Manifest
from storage.names import SetName
from storage.place import Place
from storage.shard import SHARD_FORMATS
from storage.store import init_store
from storage.verify import verify_set
from storage.versions import list_versions, read_manifest

WRITERS, ROUNDS = 16, 200
LIVES = 2  # of each writer in a round: killed, started again, killed
SECONDS = {"disk": 1.2, "s3": 6.0}  # of a round
PRELOADED = ["scripts.set_writer", "h5py", "numpy.random", "pandas", "pyarrow.parquet"]  # what a commit imports, pyarrow some of it
_FRESH = multiprocessing.get_context("forkserver")  # a new Python for each of 6,400 writers would take longer than the rounds


@dataclass(frozen=True)
class Report:
    """What a writer says when `commit` has returned."""

    version: int
    nonce: str


@dataclass
class Outcome:
    """unreported: versions whose writers were killed before they could say so."""

    place: str
    number: int
    shard_format: str
    shared: bool
    kills: int
    versions: int
    unreported: int
    seconds: float
    problems: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument("--writers", type=int, default=WRITERS, help=f"default {WRITERS}")
    parser.add_argument("--place", choices=SECONDS, default="disk")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE", help="write all outcomes there")
    args = parser.parse_args(arguments)
    outcomes = []
    for outcome in campaign(args.place, args.rounds, args.writers, args.seed):
        outcomes.append(outcome)
        say = "; ".join(outcome.problems) or "good"
        kind = "one corpus" if outcome.shared else "own corpora"
        print(
            f"{outcome.number} ({outcome.shard_format}, {kind}): {outcome.kills} kills, {outcome.versions} versions, "
            f"{outcome.unreported} of them unreported, {outcome.seconds:.1f} s: {say}",
            flush=True,
        )
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    sums = {name: sum(getattr(outcome, name) for outcome in outcomes) for name in ("kills", "versions", "unreported")}
    bad = sum(bool(outcome.problems) for outcome in outcomes)
    print(f"{len(outcomes)} rounds of {args.writers} writers, {bad} with problems; {sums}")
    return 1 if bad else 0


def campaign(place: str, rounds: int, writers: int, seed: int, seconds: float | None = None) -> Iterator[Outcome]:
    """Rounds one after another, each in a store of its own. seconds: how long its writers write; None: as usual."""
    _FRESH.set_forkserver_preload(PRELOADED)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="permafrost-writers-"))
        new_root = new_roots(place, Path(folder), stack)
        for number in range(rounds):
            chance = random.Random(f"{seed}-{number}")
            shard_format = sorted(SHARD_FORMATS)[number // 2 % len(SHARD_FORMATS)]
            yield one(place, number, new_root(), shard_format, number % 2 == 1, writers, seconds or SECONDS[place], chance)


def new_roots(place: str, folder: Path, stack: ExitStack) -> Callable[[], Place]:
    """Makes a new folder, or a new bucket of an S3 server that ends with the stack, at each call. place: disk or s3."""
    if place == "disk":
        return lambda: Path(tempfile.mkdtemp(dir=folder))
    from scripts.s3_server import new_bucket, serve  # moto, which takes half a second

    address = stack.enter_context(serve())
    os.environ["PERMAFROST_CACHE"] = str(folder / "cache")
    return lambda: new_bucket(address)


def one(
    place: str, number: int, root: Place, shard_format: str, shared: bool, writers: int, seconds: float, chance: random.Random
) -> Outcome:
    started = time.monotonic()
    init_store(root)
    made = new_set(SetName(root, "team", "set"), made_space(), shard_format)
    reports = write_and_kill(made.name, shared, writers, seconds, chance)
    outcome = Outcome(place, number, shard_format, shared, writers * LIVES, len(list_versions(made.folder)), 0, 0.0)
    outcome.unreported = outcome.versions - len(reports)
    outcome.problems += wrong_with(made, reports)
    outcome.seconds = time.monotonic() - started
    return outcome


# Writers


@dataclass
class Life:
    """One process of a writer."""

    process: BaseProcess
    reports: Connection

    def wait(self) -> None:
        self.reports.recv()

    def end(self) -> list[Report]:
        """Kill it, and hear what it had said."""
        if not self.process.is_alive():
            raise RuntimeError(f"a writer ended by itself, with exit code {self.process.exitcode}")
        self.process.kill()
        self.process.join()
        heard = []
        with suppress(EOFError):
            while True:
                heard += [Report(*said)] if (said := self.reports.recv()) else []
        self.reports.close()
        return heard


def write_and_kill(name: SetName, shared: bool, writers: int, seconds: float, chance: random.Random) -> list[Report]:
    """Let them write for so long, each of them LIVES times; returns all that they reported.

    The time begins with the first version: on a busy machine all would else be killed before it, and nothing would have been tried.
    """
    lives = {writer: begin(name, writer, 0, shared) for writer in range(writers)}
    moments = {writer: sorted(chance.uniform(0, seconds) for _ in range(LIVES)) for writer in lives}
    kills = [(moment, writer, life) for writer, of_writer in moments.items() for life, moment in enumerate(of_writer)]
    for each in lives.values():
        each.wait()
    while not list_versions(name.folder):
        time.sleep(0.01)
    heard, started = [], time.monotonic()
    for moment, writer, life in sorted(kills):
        time.sleep(max(0.0, started + moment - time.monotonic()))
        heard += lives[writer].end()
        if life + 1 < LIVES:
            lives[writer] = begin(name, writer, life + 1, shared)
    return heard


def begin(name: SetName, writer: int, life: int, shared: bool) -> Life:
    hearing, saying = _FRESH.Pipe(duplex=False)
    environment = {key: value for key, value in os.environ.items() if key.startswith(("AWS_", "PERMAFROST_"))}
    process = _FRESH.Process(target=write, args=(environment, str(name), writer, life, shared, saying))
    process.start()
    saying.close()
    return Life(process, hearing)


# What came of it


def wrong_with(made: MadeSet, reports: Sequence[Report]) -> list[str]:
    """What is lost, there twice, or cannot be read."""
    versions = list_versions(made.folder)
    if not versions or versions != list(range(1, len(versions) + 1)):
        return [f"versions with gaps: {versions}"]
    manifests = [read_manifest(made.folder, version) for version in versions]
    problems = [f"version {m.version} does not follow the one before it" for m in manifests if (m.parent or 0) != m.version - 1]
    if twice := [nonce for nonce, count in Counter(manifest.nonce for manifest in manifests).items() if count > 1]:
        problems.append(f"{len(twice)} commits are there twice")
    nonces = {manifest.version: manifest.nonce for manifest in manifests}
    if lost := [report.version for report in reports if nonces.get(report.version) != report.nonce]:
        problems.append(f"{len(lost)} reported versions are lost, such as {min(lost)}")
    problems += [problem for before, after in itertools.pairwise(manifests) if (problem := wrong_step(before, after))]
    problems += [problem for version in versions if (problem := wrong_content(made, version))]
    collect_garbage(made.name, delete=True, grace_seconds=-1)
    problems += [f"{finding.path}: {finding.kind}" for finding in verify_set(made.name, full=True).findings]
    return problems


def wrong_step(before: Manifest, after: Manifest) -> str | None:
    """A version changes one corpus, and one that all share only grows."""
    changed = [corpus for corpus, state in after.corpora.items() if state != before.corpora.get(corpus)]
    if before.corpora.keys() - after.corpora.keys() or len(changed) != 1:
        return f"version {after.version} changes {len(changed)} corpora, of {len(before.corpora)} before and {len(after.corpora)} now"
    if changed == [SHARED] and after.counts["rows"] != before.counts["rows"] + ADDED:
        return f"version {after.version} has {after.counts['rows']} rows, after {before.counts['rows']}"
    return None


def wrong_content(made: MadeSet, version: int) -> str | None:
    """Every item of a version is there once, with its own embedding."""
    keys, embeddings = made.open(str(version)).to_numpy()
    if len(set(keys)) != len(keys):
        return f"version {version} has keys twice"
    if embeddings.tobytes() != made.embeddings([picture_of(key) for key in keys]).tobytes():
        return f"version {version} has other embeddings than were written"
    return None


if __name__ == "__main__":
    sys.exit(main())
