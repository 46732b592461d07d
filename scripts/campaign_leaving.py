"""Lets processes expire versions of a copy, and copy them again, all at once, and checks that each is there or known as absent.

python -m scripts.campaign_leaving                       200 rounds on a disk: the full campaign
python -m scripts.campaign_leaving --place s3 --rounds 20 --seed 7      on an S3 server in this process (moto)
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from scripts.campaign_writers import new_roots
from scripts.made_set import MadeSet, made_space, new_set
from scripts.set_leaver import leave_and_come
from storage.absent import absent_versions
from storage.expected_versions import missing_versions
from storage.names import SetName
from storage.store import init_store
from storage.transfer import copy_set
from storage.verify import verify_set
from storage.versions import list_versions

ROUNDS, PROCESSES, TIMES = 200, 4, 12
VERSIONS = 5
_FRESH = multiprocessing.get_context("forkserver")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument("--place", choices=["disk", "s3"], default="disk")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    bad = 0
    for number, problems in enumerate(campaign(args.place, args.rounds, PROCESSES, TIMES, args.seed)):
        print(f"{number}: {'; '.join(problems) or 'good'}", flush=True)
        bad += bool(problems)
    print(f"{args.rounds} rounds of {PROCESSES} processes with {TIMES} operations each, {bad} with problems")
    return 1 if bad else 0


def campaign(place: str, rounds: int, processes: int, times: int, seed: int) -> Iterator[list[str]]:
    """What is wrong after each of the rounds, each with a set and a copy of its own."""
    _FRESH.set_forkserver_preload(["scripts.set_leaver"])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="permafrost-leaving-")))
        new_root = new_roots(place, folder, stack)
        made = new_set(SetName(folder / "source", "team", "set"), made_space(), "parquet")
        for picture in range(VERSIONS):
            made.commit("one", {"a": picture})
        for number in range(rounds):
            yield one(made, replace(made, name=replace(made.name, root=new_root())), processes, times, seed * rounds + number)


def one(made: MadeSet, target: MadeSet, processes: int, times: int, seed: int) -> list[str]:
    """The target begins as copies of versions 3 and 5."""
    init_store(target.name.root)
    for version in ("3", "5"):
        copy_set(replace(made.name, at=version), target.name)
    environment = {key: value for key, value in os.environ.items() if key.startswith(("AWS_", "PERMAFROST_"))}
    seeds = range(seed * processes, (seed + 1) * processes)
    at_work = [_FRESH.Process(target=leave_and_come, args=(environment, made.uri, target.uri, each, times)) for each in seeds]
    for process in at_work:
        process.start()
    for process in at_work:
        process.join()
    problems = [f"a process ended with exit code {process.exitcode}" for process in at_work if process.exitcode]
    problems += [f"version {version} is lost" for version in missing_versions(target.name)]
    unknown = {*range(1, VERSIONS + 1)} - {*list_versions(target.folder)} - absent_versions(target.name)
    problems += [f"of version {version} nobody knows" for version in sorted(unknown)]
    return problems + [f"{finding.path}: {finding.message}" for finding in verify_set(target.name, full=True).findings if finding.is_damage]


if __name__ == "__main__":
    raise SystemExit(main())
