"""Kills what a cluster of three hosts is made of, at seeded random moments, until an extraction is through; then checks the version.

python -m scripts.campaign_cluster                     200 kills over some thousand images: the full campaign
python -m scripts.campaign_cluster --kills 20 --json FILE

Victims: actors, the register of claims, whole hosts (which come back), the driver (whose command is given again). One more host joins
and leaves. `--light`: with workers that have no network (scripts/light_worker.py), one for each GPU of the hosts that are there.
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

from scripts.campaign_kills import differences, draw_corpus, embedded_twice, launch, receipts, to_its_end, undisturbed, wait_for_work
from scripts.light_worker import prelude
from scripts.net_cluster import NetCluster, possible
from scripts.process_tree import command

HOSTS, GPUS = 3, 2
IMAGES = 3000
VICTIMS = {"actor": 6, "host": 1, "late host": 1, "driver": 2, "claims": 1}  # with how often each is drawn
MAX_PAUSE, LIGHT_PAUSE = 6.0, 2.0  # seconds between kills
SECONDS_TO_APPEAR = 10.0  # of an actor that is to be killed, after another kill
LIGHT_SECONDS = 0.6  # that a light worker takes longer for a unit, of which three overlap, so that there is work for a while


@dataclass
class Outcome:
    kills: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    drivers: int = 0
    embedded: int = 0  # by all drivers together
    images: int = 0  # different ones
    joins: int = 0  # of the host that joins; each time but the first it was killed before
    joined_workers: int = 0  # of the last driver
    devices: list[str] = field(default_factory=list)  # what each actor saw
    problems: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--light", action="store_true", help="workers without a network, which start in a second")
    parser.add_argument("--json", metavar="FILE", help="write the outcome there")
    args = parser.parse_args(arguments)
    if not possible():
        print("network namespaces cannot be made here (Linux, root and iproute2 are needed)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="pfc-") as folder:  # a short name: Ray's sockets have 107 characters for theirs
        outcome = campaign(Path(folder), args.kills, args.images, args.seed, args.light)
    if args.json:
        Path(args.json).write_text(json.dumps(vars(outcome), indent=1))
    print(f"{sum(outcome.kills.values())} kills {dict(outcome.kills)} in {outcome.seconds:.0f} s, {outcome.drivers} drivers: ", end="")
    print("; ".join(outcome.problems) or f"the version of {outcome.images} images equals an undisturbed one")
    return 1 if outcome.problems else 0


def campaign(folder: Path, kills: int, images: int, seed: int, light: bool = False) -> Outcome:
    outcome = Outcome()
    corpus = draw_corpus(folder / "photos", seed, images)
    with NetCluster(folder / "ray", HOSTS + 1, 1 if light else GPUS, late=1) as cluster:
        field = _Field(cluster, corpus, f"{folder}/store/team/photos", random.Random(seed), outcome, light)
        if light:
            uri = f"{folder}/undisturbed/team/photos"
            whole = to_its_end(field.launch(uri), uri)
        else:
            whole = undisturbed(corpus, f"{folder}/undisturbed/team/photos", "local")
            outcome.devices, outcome.problems = _devices(cluster, folder)
        started = time.monotonic()
        field.drive()
        while field.process.poll() is None:
            if sum(outcome.kills.values()) < kills:
                field.disturb()
            else:
                time.sleep(0.1)
        out, err = field.process.communicate()
        outcome.seconds = round(time.monotonic() - started, 1)
    if field.process.returncode:
        outcome.problems.append(f"the last driver ended with code {field.process.returncode}: {err.strip()[-2000:]}")
        return outcome
    answer = json.loads(out)
    outcome.images = len({digest for digest, _ in whole.contents.values()})
    outcome.embedded = sum(receipt.counters["embedded"] for receipt in receipts(field.uri))
    outcome.joined_workers = answer["joined_workers"]
    outcome.problems += differences(field.uri, whole)
    if not outcome.kills["claims"]:
        outcome.problems += embedded_twice(receipts(field.uri))
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
    [report] = Path(uri).glob("runs/*/report.json")
    seen = sorted(json.loads(report.read_text())["workers"])
    expected = sorted(f"{address} (CPU, GPU {gpu})" for address in cluster.addresses[:HOSTS] for gpu in range(GPUS))
    return seen, [] if seen == expected else [f"the actors see {seen}, expected {expected}"]


class _Field:
    """The driver that runs now, and who is killed next."""

    process: subprocess.Popen[str]

    def __init__(self, cluster: NetCluster, corpus: Path, uri: str, chance: random.Random, outcome: Outcome, light: bool) -> None:
        self.cluster, self.corpus, self.uri, self.chance, self.outcome, self.light = cluster, corpus, uri, chance, outcome, light
        self._pause = LIGHT_PAUSE if light else MAX_PAUSE
        self._victims = random.Random(chance.random())  # of their own, so that a seed gives the same ones whatever is there to be killed

    def launch(self, uri: str, unit_seconds: float = 0.0) -> subprocess.Popen[str]:
        """An extraction with a worker for each host, wherever they have room; light ones wherever there is a GPU."""
        where = ["--ray", self.cluster.address, *([] if self.light else ["--workers", str(HOSTS)])]
        before = prelude(unit_seconds) if self.light else ""
        return launch(self.corpus, uri, where, self.cluster.command, before, env=self.cluster.environment)

    def drive(self) -> None:
        self.outcome.drivers += 1
        self.process = self.launch(self.uri, LIGHT_SECONDS)

    def disturb(self) -> None:
        """Wait a while, and kill something that runs; of later drivers also before they have work."""
        wait_for_work(self.uri, self.process)
        self._sleep()
        if self.process.poll() is None:
            [victim] = self._victims.choices(list(VICTIMS), list(VICTIMS.values()))
            {"driver": self._driver, "host": self._host, "late host": self._late_host}.get(victim, lambda: self._actor(victim))()

    def _sleep(self) -> None:
        time.sleep(self.chance.uniform(0, self._pause))

    def _driver(self) -> None:
        self.outcome.kills["driver"] += 1
        for pid in [pid for pid in self.cluster.processes(0) if "campaign" not in command(pid) and str(self.corpus) in command(pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()
        self.drive()

    def _host(self) -> None:
        number = self.chance.randrange(1, HOSTS)  # the head keeps the cluster's memory: losing it is losing the cluster
        self.outcome.kills["host"] += 1
        self.cluster.lose_host(number)
        self._sleep()
        self.cluster.start_host(number)

    def _late_host(self) -> None:
        if self.cluster.processes(HOSTS):
            self.outcome.kills["host"] += 1
            self.cluster.lose_host(HOSTS)
        else:
            self.outcome.joins += 1
            self.cluster.start_host(HOSTS)

    def _actor(self, victim: str) -> None:
        name = "ray::_Actor" if victim == "actor" else "ray::_Claims"
        deadline = time.monotonic() + SECONDS_TO_APPEAR
        while not (found := self._processes(name)) and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        if found:
            self.outcome.kills[victim] += 1
            with suppress(ProcessLookupError):
                os.kill(self.chance.choice(sorted(found)), signal.SIGKILL)

    def _processes(self, name: str) -> list[int]:
        return [pid for number in range(HOSTS + 1) for pid in self.cluster.processes(number) if command(pid).startswith(name)]


if __name__ == "__main__":
    sys.exit(main())
