"""A commit whose process is killed at each of its steps, one after the other, until it has no such step any more."""

from __future__ import annotations

import itertools
import multiprocessing
import secrets
import signal
from collections.abc import Callable
from dataclasses import replace

from scripts.made_set import MadeSet
from storage.manifest import Manifest
from storage.verify import verify_set
from storage.versions import list_versions, read_manifest

FRESH = multiprocessing.get_context("forkserver")  # a child of a server without threads: quick to start, and nobody's locks are held
FRESH.set_forkserver_preload(["scripts.set_leaver", *(f"tests.storage.test_commit_{kind}" for kind in ("crashes", "faults"))])


def again(draft: Manifest) -> Manifest:
    return replace(draft, nonce=secrets.token_hex(16))


def require_landed_or_not(made: MadeSet, run: Callable[[int, Manifest, Manifest], int | None]) -> None:
    """run: lets a process commit a draft of the corpus `two`, on top of a base, and die at this step; returns its exit code."""
    draft, landed = made.draft("two", {"c": 3, "d": 4}), []
    for at in itertools.count():
        before, base, draft = list_versions(made.folder), made.open().manifest, again(draft)
        code = run(at, base, draft)
        new = list_versions(made.folder)[len(before) :]
        assert new in ([], [before[-1] + 1])
        assert all(read_manifest(made.folder, version).nonce == draft.nonce for version in new)
        assert len(made.open().to_numpy()[0]) == made.open().rows
        landed.append(bool(new))
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert landed == sorted(landed), "up to one of its steps a commit has not landed, and from there on it has"
    assert set(landed) == {False, True}
    assert verify_set(made.name, full=True).sound
