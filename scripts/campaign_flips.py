"""Flips single bits in the files of a set, one at a time, and checks that a full verification finds each one and names its file.

python -m scripts.campaign_flips                         10,000 flips: the full campaign
python -m scripts.campaign_flips --flips 200 --seed 7 --json FILE
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.damaged_sets import files_of, fill_with_every_kind, flip_a_bit
from scripts.made_set import MadeSet, made_space, new_set
from storage.names import SetName
from storage.shard import SHARD_FORMATS
from storage.verify import verify_set


@dataclass(frozen=True)
class Outcome:
    """flips: by kind of file, in the set of one format. problems: flips that were not found, or for which another file was blamed."""

    shard_format: str
    seed: int
    flips: dict[str, int]
    seconds: float
    problems: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=10_000, help="in the sets of all formats together (default 10000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE", help="write all outcomes there")
    args = parser.parse_args(arguments)
    logging.getLogger("storage").setLevel(logging.ERROR)  # it warns of each damaged hint
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="permafrost-flips-") as folder:
        for shard_format in SHARD_FORMATS:
            made = fill_with_every_kind(new_set(SetName(Path(folder) / shard_format, "team", "set"), made_space(), shard_format))
            outcomes.append(outcome := campaign(made, args.flips // len(SHARD_FORMATS), args.seed))
            found = f"{sum(outcome.flips.values())} flips in {outcome.seconds:.0f} s, {len(outcome.problems)} problems"
            print(f"{shard_format}: {found}, {outcome.flips}", *outcome.problems, sep="\n", flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    return 1 if any(outcome.problems for outcome in outcomes) else 0


def campaign(made: MadeSet, flips: int, seed: int) -> Outcome:
    """Kinds of files are drawn evenly: a set has many shards and one set.json."""
    chance, started = random.Random(f"{seed}-{made.description.shard_format}"), time.monotonic()
    kinds: dict[str, list[Path]] = {}
    for path in files_of(made):
        kinds.setdefault(kind_of(path, made), []).append(path)
    counts: Counter[str] = Counter()
    problems = ["the set is damaged before the first flip"] if blamed(made) else []
    for _ in range(flips):
        kind = chance.choice(sorted(kinds))
        path = chance.choice(kinds[kind])
        counts[kind] += 1
        before = path.read_bytes()
        bit = flip_a_bit(path, chance)
        if (found := blamed(made)) != [path.resolve()]:
            problems.append(f"bit {bit} of {path}: found {[str(each) for each in found]}")
        path.write_bytes(before)
    problems += ["the set is damaged after the last flip was undone"] if blamed(made) else []
    return Outcome(made.description.shard_format, seed, dict(sorted(counts.items())), time.monotonic() - started, problems)


def kind_of(path: Path, made: MadeSet) -> str:
    """The folder of the set that a file is in, or its name; of a run's files both; of a takedown's what they are."""
    folder = Path(str(made.folder))
    if path.parent.name == "takedowns":
        return f"takedowns: {'record' if path.name.startswith('record-') else 'tombstone'}"
    if path.parent.name == "receipts" and not path.is_relative_to(folder):
        return "takedowns: receipt"
    if not path.is_relative_to(folder):
        return path.name
    first, *rest = path.relative_to(folder).parts
    return f"runs: {rest[1]}" if first == "runs" else first


def blamed(made: MadeSet) -> list[Path]:
    """The files that a full verification finds to be other than they were."""
    return [(Path(str(made.folder)) / finding.path).resolve() for finding in verify_set(made.name, full=True).findings]


if __name__ == "__main__":
    sys.exit(main())
