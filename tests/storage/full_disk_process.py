"""Fills a set on a real, small disk until there is no room; prints as JSON what came of it at each amount of room that was left.

unshare --map-root-user --mount python -m tests.storage.full_disk_process FOLDER SHARD_FORMAT    the mount ends with the process
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.made_set import MadeSet, made_space, new_set
from storage.errors import DiskFullError
from storage.names import SetName
from storage.verify import verify_set
from storage.versions import list_versions

DISK_BYTES, DISK_FILES = 4 << 20, 1000


@dataclass(frozen=True)
class Outcome:
    """answer: the version that commit returned, or the error's name and text. there: the versions that were new."""

    left: int  # of what was short
    answer: int | str
    there: list[int]
    sound: bool  # when there was room again


def main(folder: Path, shard_format: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},nr_inodes={DISK_FILES}", "none", str(folder)], check=True)
    made = new_set(SetName(folder / "store", "team", "set"), made_space(), shard_format)
    made.commit("one", {f"k{i}": i for i in range(5)})
    found = {"pages": attempts(made, folder, leave_pages), "files": attempts(made, folder, leave_files)}
    print(json.dumps({short: [asdict(outcome) for outcome in outcomes] for short, outcomes in found.items()}))


def attempts(made: MadeSet, folder: Path, leave: Callable[[Path, int], None]) -> list[Outcome]:
    """With room for nothing at all, then for a little more each time, until a commit lands."""
    outcomes: list[Outcome] = []
    while not outcomes or isinstance(outcomes[-1].answer, str):
        outcomes.append(attempt(made, folder, leave, len(outcomes)))
    return outcomes


def attempt(made: MadeSet, folder: Path, leave: Callable[[Path, int], None], left: int) -> Outcome:
    before = list_versions(made.folder)
    filler = folder / "filler"
    filler.mkdir()
    leave(filler, left)
    try:
        answer: int | str = made.commit(f"corpus {before[-1]}", {f"n{left}": 100 + left, "m": before[-1]}).version
    except DiskFullError as error:
        answer = f"DiskFullError: {error}"
    except Exception as error:  # noqa: BLE001  which the test calls wrong
        answer = f"{type(error).__name__}: {error}"
    subprocess.run(["rm", "-r", str(filler)], check=True)
    there = list_versions(made.folder)[len(before) :]
    keys, _ = made.open().to_numpy()
    return Outcome(left, answer, there, verify_set(made.name, full=True).sound and len(keys) == made.open().rows)


def leave_pages(filler: Path, left: int) -> None:
    room = os.statvfs(filler)
    (filler / "pages").write_bytes(bytes(max(0, room.f_bavail - left) * room.f_frsize))


def leave_files(filler: Path, left: int) -> None:
    for number in range(os.statvfs(filler).f_favail - left):
        (filler / str(number)).touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
