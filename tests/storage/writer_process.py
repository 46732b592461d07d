"""A writer in a process of its own, for the tests of concurrency and crashes. Prints `ready`, then waits for a line.

writer_process.py commit URI CORPUS DRAFT.json...   commits drafts one after another; prints the versions, or `conflict`
writer_process.py create FOLDER COUNT TEXT          creates FOLDER/0 .. COUNT-1 exclusively; prints the numbers it won
writer_process.py shard URI                         stops in the middle of writing a shard (prints `middle`)
writer_process.py atomic FILE                       stops in the middle of replacing FILE (prints `middle`)
writer_process.py limited FILE                      replaces FILE where the disk takes no more than 1000 bytes
writer_process.py endless URI CORPUS DRAFT.json...  commits the drafts in turn until it is killed
"""

from __future__ import annotations

import itertools
import json
import resource
import secrets
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from storage.commit import commit, open_newest
from storage.errors import AlreadyExistsError, ConflictError
from storage.feature_set import open_set
from storage.files import create_exclusive, private_file, write_atomic
from storage.manifest import Manifest
from storage.names import parse_set
from storage.shard import shard_format
from storage.shard_layout import ShardLayout


def say(*words: object) -> None:
    print(*words, flush=True)


def ready() -> None:
    say("ready")
    sys.stdin.readline()


def run_commit(uri: str, corpus: str, *files: str) -> None:
    name = parse_set(uri)
    drafts = [Manifest.from_dict(json.loads(Path(file).read_bytes()), file) for file in files]
    base = open_newest(name)
    ready()
    for draft in drafts:
        try:
            say(commit(name, base.manifest if base else None, draft, corpus).version)
        except ConflictError:
            say("conflict")
        base = open_newest(name)


def run_endless(uri: str, corpus: str, *files: str) -> None:
    name = parse_set(uri)
    drafts = [Manifest.from_dict(json.loads(Path(file).read_bytes()), file) for file in files]
    ready()
    for draft in itertools.cycle(drafts):
        base = open_newest(name)
        commit(name, base.manifest if base else None, replace(draft, nonce=secrets.token_hex(16)), corpus)


def run_create(folder: str, count: str, text: str) -> None:
    ready()
    for i in range(int(count)):
        try:
            create_exclusive(Path(folder) / str(i), text.encode())
        except AlreadyExistsError:
            continue
        say(i)


def run_shard(uri: str) -> None:
    feature_set = open_set(uri)
    description = feature_set.description
    kind = shard_format(description.shard_format)
    ready()
    with private_file(feature_set.name.folder / "shards") as partial:
        writer = kind.writer(partial, ShardLayout(description.shape, description.dtype, description.space.id))
        writer.append([bytes(32)] * 5, [0] * 5, np.ones((5, *description.shape), description.dtype))
        say("middle")
        sys.stdin.readline()


def run_atomic(path: str) -> None:
    ready()
    with private_file(Path(path).parent) as partial:
        partial.write_text("half of the new con")
        say("middle")
        sys.stdin.readline()


def run_limited(path: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    ready()
    try:
        write_atomic(Path(path), bytes(10_000))
    except OSError:
        say("refused")


COMMANDS: dict[str, Callable[..., None]] = {
    "commit": run_commit,
    "endless": run_endless,
    "create": run_create,
    "shard": run_shard,
    "atomic": run_atomic,
    "limited": run_limited,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
