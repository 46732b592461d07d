"""Kills what a cluster of three hosts is made of, at seeded random moments, until an extraction is through; then checks the version.

python -m scripts.campaign_cluster                     200 kills over some thousand images: the full campaign
python -m scripts.campaign_cluster --kills 20 --json FILE

Victims: actors, the register of claims, whole hosts (which come back), the driver (whose command is given again).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from scripts.campaign_kills import differences, draw_corpus, embedded_twice, launch, receipts, undisturbed, wait_for_work
from scripts.net_cluster import NetCluster, possible
from scripts.process_tree import command
from storage.names import parse_set

HOSTS, GPUS = 3, 2
IMAGES = 3000
VICTIMS = {"actor": 5, "host": 2, "driver": 2, "claims": 1}  # with how often each is drawn
MAX_PAUSE = 6.0  # seconds between kills


@dataclass
class Outcome:
    kills: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    drivers: int = 0
    embedded: int = 0  # by all drivers together
    images: int = 0  # different ones
    devices: list[str] = field(default_factory=list)  # what each actor saw
    problems: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE", help="write the outcome there")
    args = parser.parse_args(arguments)
    if not possible():
        print("network namespaces cannot be made here (Linux, root and iproute2 are needed)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="pfc-") as folder:  # a short name: Ray's sockets have 107 characters for theirs
        outcome = campaign(Path(folder), args.kills, args.images, args.seed)
    if args.json:
        Path(args.json).write_text(json.dumps(vars(outcome), indent=1))
    print(f"{sum(outcome.kills.values())} kills {dict(outcome.kills)} in {outcome.seconds:.0f} s, {outcome.drivers} drivers: ", end="")
    print("; ".join(outcome.problems) or f"the version of {outcome.images} images equals an undisturbed one")
    return 1 if outcome.problems else 0


def campaign(folder: Path, kills: int, images: int, seed: int) -> Outcome:
    chance, outcome = random.Random(seed), Outcome()
    corpus = draw_corpus(folder / "photos", seed, images)
    whole = undisturbed(corpus, f"{folder}/undisturbed/team/photos", "local")
    uri = f"{folder}/store/team/photos"
    with NetCluster(folder / "ray", HOSTS, GPUS) as cluster:
        outcome.devices, problems = _devices(cluster, folder)
        outcome.problems += problems
        started = time.monotonic()
        process = _drive(cluster, corpus, uri, outcome)
        while process.poll() is None:
            if sum(outcome.kills.values()) < kills:
                process = _disturb(cluster, process, corpus, uri, chance, outcome)
            else:
                time.sleep(0.5)
        out, err = process.communicate()
        outcome.seconds = round(time.monotonic() - started, 1)
    if process.returncode:
        outcome.problems.append(f"the last driver ended with code {process.returncode}: {err.strip()[-2000:]}")
        return outcome
    answer = json.loads(out)
    outcome.images = len({digest for digest, _ in whole.contents.values()})
    outcome.embedded = sum(receipt.counters["embedded"] for receipt in receipts(uri))
    outcome.problems += differences(uri, whole)
    if not outcome.kills["claims"]:
        outcome.problems += embedded_twice(receipts(uri))
    if answer["pending"]:
        outcome.problems.append(f"{answer['pending']} items are pending")
    return outcome


def _devices(cluster: NetCluster, folder: Path) -> tuple[list[str], list[str]]:
    """What each of as many actors as there are GPUs says that it sees, and what is wrong with that."""
    corpus, uri = draw_corpus(folder / "few", 1, 40), f"{folder}/devices/team/photos"
    process = launch(corpus, uri, ["--workers", str(HOSTS * GPUS), "--ray", cluster.address], cluster.command, env=cluster.environment)
    _, err = process.communicate(timeout=600)
    if process.returncode:
        return [], [f"an undisturbed run on the cluster failed: {err.strip()[-1000:]}"]
    [report] = (parse_set(uri).folder / "runs").glob("*/report.json")
    seen = sorted(json.loads(report.read_text())["workers"])
    expected = sorted(f"{address} (CPU, GPU {gpu})" for address in cluster.addresses for gpu in range(GPUS))
    return seen, [] if seen == expected else [f"the actors see {seen}, expected {expected}"]


def _drive(cluster: NetCluster, corpus: Path, uri: str, outcome: Outcome) -> subprocess.Popen[str]:
    outcome.drivers += 1
    return launch(corpus, uri, ["--workers", str(HOSTS), "--ray", cluster.address], cluster.command, env=cluster.environment)


def _disturb(
    cluster: NetCluster, process: subprocess.Popen[str], corpus: Path, uri: str, chance: random.Random, outcome: Outcome
) -> subprocess.Popen[str]:
    """Wait a while, kill something that runs, and give back the driver that runs now."""
    before = len(list((parse_set(uri).folder / "runs").glob("*/plan.json")))
    if before < outcome.drivers:
        wait_for_work(uri, process)
    time.sleep(chance.uniform(0, MAX_PAUSE))
    [victim] = chance.choices(list(VICTIMS), list(VICTIMS.values()))
    if process.poll() is not None:
        return process
    if victim == "driver":
        outcome.kills[victim] += 1
        for pid in [pid for pid in cluster.processes(0) if "campaign" not in command(pid) and str(corpus) in command(pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()
        return _drive(cluster, corpus, uri, outcome)
    if victim == "host":
        number = chance.randrange(1, HOSTS)  # the head keeps the cluster's memory: losing it is losing the cluster
        outcome.kills[victim] += 1
        cluster.lose_host(number)
        time.sleep(chance.uniform(0, MAX_PAUSE))
        cluster.start_host(number)
        return process
    name = "ray::_Actor" if victim == "actor" else "ray::_Claims"
    found = [pid for number in range(HOSTS) for pid in cluster.processes(number) if command(pid).startswith(name)]
    if found:
        outcome.kills[victim] += 1
        with suppress(ProcessLookupError):
            os.kill(chance.choice(sorted(found)), signal.SIGKILL)
    return process


if __name__ == "__main__":
    sys.exit(main())
