"""Whatever call of a commit to a disk fails, and wherever its process dies: it has landed once, or it has not, and says so."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from scripts.made_set import MadeSet
from storage.commit import commit
from storage.errors import PermafrostError
from storage.manifest import Manifest
from storage.names import SetName
from storage.verify import verify_set
from storage.versions import list_versions, read_manifest
from tests.storage.deaths import FRESH, again, require_landed_or_not
from tests.storage.faulty_calls import die, fail, harmed

pytestmark = pytest.mark.slow


@pytest.fixture
def made(make_set: Callable[..., MadeSet]) -> MadeSet:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    made.commit("two", {"c": 3})
    return made


def calls_of_a_commit(made: MadeSet, draft: Manifest) -> int:
    with harmed(-1, False, die) as seen:
        commit(made.name, made.open().manifest, draft, "two")
    assert {"listdir", "open", "stat", "link", "fsync", "unlink", "replace"} <= set(seen)
    return len(seen)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES, errno.ESTALE])
@pytest.mark.parametrize("after", [False, True])
def test_a_call_that_fails(made: MadeSet, number: int, after: bool) -> None:
    draft = made.draft("two", {"c": 3, "d": 4})
    for at in range(calls_of_a_commit(made, draft)):
        before, base, draft = list_versions(made.folder), made.open().manifest, again(draft)
        with harmed(at, after, fail(number)) as seen:
            try:
                landed = commit(made.name, base, draft, "two").version
            except (PermafrostError, OSError):
                landed = None
        new = list_versions(made.folder)[len(before) :]
        assert new == ([landed] if landed else []), f"call {at}: {seen[at : at + 1]}"
        assert all(read_manifest(made.folder, version).nonce == draft.nonce for version in new)
    assert verify_set(made.name, full=True).sound


def commit_and_die(name: SetName, base: Manifest, draft: Manifest, at: int, after: bool) -> None:
    with harmed(at, after, die):
        commit(name, base, draft, "two")


@pytest.mark.parametrize("after", [False, True])
def test_a_process_that_dies(made: MadeSet, after: bool) -> None:
    def run(at: int, base: Manifest, draft: Manifest) -> int | None:
        process = FRESH.Process(target=commit_and_die, args=(made.name, base, draft, at, after))
        process.start()
        process.join()
        return process.exitcode

    require_landed_or_not(made, run)
