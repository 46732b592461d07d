"""Files of a set that nobody needs: no version lists them, no run is at work, and they are older than the time of grace."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from storage.errors import ConflictError, UsageError
from storage.expected_versions import require_all_versions
from storage.feature_set import read_description
from storage.files import list_names, modified, remove, size_of
from storage.foreign_files import LISTED_FOLDERS
from storage.heads import require_sound_heads
from storage.names import SetName
from storage.run_watch import file_system_time, run_statuses
from storage.runs import RunFolder
from storage.statistics import stale_statistics
from storage.store import require_store, require_writable
from storage.verify import listed_files
from storage.versions import list_versions, read_manifest

GRACE_SECONDS = 24 * 3600.0  # an import, a copy or a commit may have written what it lists only later
LEAST_GRACE_SECONDS = 60.0  # where others may be at work; between a file and the commit that lists it are seconds, in an import hours


@dataclass(frozen=True)
class Garbage:
    """kept_young: files that no version lists, within the time of grace."""

    files: tuple[str, ...]  # relative to the set
    bytes: int
    kept_young: int


def collect_garbage(name: SetName, delete: bool, grace_seconds: float = GRACE_SECONDS) -> Garbage:
    """Find, and perhaps delete: shards, item files, rejects and golden images that no version lists; statistics of other items; receipts
    of runs that did not finish, since the shards that they name go with them; and what killed writers left under private names. Folders
    are left alone, and so is the calibrated network of an int8 set that has no version yet.

    grace_seconds: longer than any writer takes from its first file to its commit; less than LEAST_GRACE_SECONDS, which the command
    refuses, is for sets that nobody else writes to.

    Nothing is touched while a run is at work on the set, which may need what no version lists yet: ConflictError. A manifest that cannot
    be read, or is lost, stops it too, and so does a head of the store that cannot be read (DamagedError): nobody knows what they need.
    Raises NotFoundError, UsageError.
    """
    if name.at:
        raise UsageError(f"{name}: expected a set; leave out '@{name.at}'")
    require_writable(name.root)
    require_store(name.root)
    description = read_description(name)
    clock = partial(file_system_time, name.folder / "runs") if delete else time.time  # who only looks writes nothing
    statuses = run_statuses(name, clock)
    if running := [status for status in statuses if status.state in ("running", "unreadable")]:
        raise ConflictError(f"run {running[0].run} is at work on {name.folder} ({running[0].host}): collect garbage when it has ended")
    require_sound_heads(name)  # a version that is lost may be one that only a head tells of
    require_all_versions(name)
    versions = list_versions(name.folder)
    listed = listed_files({version: read_manifest(name.folder, version) for version in versions})
    kept = {"golden"} if description.space.quantization and not versions else set()  # the network that its space names, and no version yet
    unfinished = [RunFolder(name.folder, status.run) for status in statuses if status.state != "finished"]
    candidates = [*_receipts(unfinished), *(path for path in _stored(name, kept) if path not in listed)]
    candidates += [*stale_statistics(name), *_private(name)]
    now = clock()
    files: list[str] = []
    size = young = 0
    for path in candidates:  # receipts first: a receipt without its shard is harmless, and a shard whose receipt is left is found again
        place = name.folder / path
        of_file = size_of(place)
        if of_file is None:  # a folder, or gone meanwhile
            continue
        with suppress(FileNotFoundError):
            if now - modified(place) < grace_seconds:
                young += 1
                continue
            size += of_file
            files.append(path)
            if delete:
                remove(place)
    return Garbage(tuple(files), size, young)


def _receipts(runs: list[RunFolder]) -> Iterator[str]:
    for run in runs:
        yield from (f"runs/{run.run_id}/receipts/{unit}.parquet" for unit in run.units_finished())


def _stored(name: SetName, kept: Collection[str]) -> Iterator[str]:
    for folder in (folder for folder in LISTED_FOLDERS if folder not in kept):
        yield from (f"{folder}/{entry}" for entry in list_names(name.folder / folder))


def _private(name: SetName) -> Iterator[str]:
    """On a disk; what goes to a bucket is written elsewhere first."""
    if isinstance(name.folder, Path):
        yield from (str(path.relative_to(name.folder)) for path in name.folder.rglob(".*") if path.is_file())
