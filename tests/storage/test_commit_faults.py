"""Whatever happens to one of the requests of a commit: it has landed once, or it has not and says so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest

from scripts.made_set import MadeSet
from scripts.s3_server import new_bucket, serve
from storage.bucket import _client
from storage.commit import commit
from storage.errors import ConflictError, PermafrostError
from storage.expire import expire_versions
from storage.manifest import Manifest
from storage.names import SetName
from storage.store import init_store
from storage.versions import list_versions, read_manifest
from tests.storage.deaths import FRESH, require_landed_or_not
from tests.storage.faulty_proxy import DEATHS, FAULTS, Harm, proxy

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set's page comes after the commit, and what goes wrong with it is only told: nine requests less to harm."""
    monkeypatch.setattr("storage.announce.leave_page", lambda name: None)


@pytest.fixture(scope="module")
def harm() -> Harm:
    return Harm()


@pytest.fixture(scope="module")
def server(harm: Harm) -> Iterator[str]:
    with serve() as address, proxy(address, harm) as harmed, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", harmed)
        yield address
    _client.cache_clear()


def new_set_in_a_bucket(server: str, make_set: Callable[..., MadeSet]) -> MadeSet:
    place: Any = new_bucket(server)
    init_store(place)
    return make_set(root=place)


@pytest.fixture
def made(server: str, make_set: Callable[..., MadeSet]) -> MadeSet:
    made = new_set_in_a_bucket(server, make_set)
    made.commit("one", {"a": 1, "b": 2})
    return made


def requests_of_a_commit(made: MadeSet, harm: Harm) -> int:
    draft = made.draft("two", {"c": 3})
    harm.seen.clear()
    commit(made.name, made.open().manifest, draft, "two")
    return len(harm.seen)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault if fault == "lost answer" else pytest.param(fault, marks=pytest.mark.full) for fault in FAULTS])
def test_a_commit_lands_once_or_says_that_it_has_not(made: MadeSet, harm: Harm, fault: str, request: pytest.FixtureRequest) -> None:
    count = requests_of_a_commit(made, harm)
    for at in range(0, count + 2, 1 if request.config.getoption("--full") else 8):  # a request that is tried again adds some
        before = list_versions(made.folder)
        base = made.open().manifest
        draft = made.draft(f"corpus {fault} {at}", {f"{at}": at})
        harm.seen.clear()
        harm.fault, harm.at = fault, at
        try:
            landed = commit(made.name, base, draft, f"corpus {fault} {at}").version
        except (PermafrostError, OSError):
            landed = None
        finally:
            harm.at = -1
        new = list_versions(made.folder)[len(before) :]
        assert new == ([landed] if landed else []), f"{fault} at request {at}: {harm.seen[at : at + 1]}"
        assert all(read_manifest(made.folder, version).nonce == draft.nonce for version in new)
    made.open().to_numpy()


def commit_when_told(environment: dict[str, str], name: SetName, base: Manifest, draft: Manifest, waiting: Connection) -> None:
    os.environ.update(environment)
    waiting.recv()
    commit(name, base, draft, "two")


@pytest.mark.full
@pytest.mark.parametrize("fault", DEATHS)
def test_a_process_that_dies_has_committed_or_not(made: MadeSet, harm: Harm, fault: str) -> None:
    def run(at: int, base: Manifest, draft: Manifest) -> int | None:
        waiting, go = FRESH.Pipe(duplex=False)
        process = FRESH.Process(target=commit_when_told, args=(dict(os.environ), made.name, base, draft, waiting))
        process.start()
        harm.seen.clear()
        harm.fault, harm.at, harm.victim = fault, at, process.pid or 0
        go.send("go")
        process.join()
        harm.at = -1
        return process.exitcode

    require_landed_or_not(made, run)


@pytest.mark.slow
@pytest.mark.parametrize("expired", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.parametrize("remembered", [0, pytest.param(1, marks=pytest.mark.full)])
def test_a_commit_looks_past_listings_that_are_behind(
    server: str, make_set: Callable[..., MadeSet], harm: Harm, remembered: int, expired: bool
) -> None:
    """The listings are those of a set that had no version yet, or one; it has four, or its fourth."""
    made = new_set_in_a_bucket(server, make_set)
    base = made.commit("one", {"a": 1}) if remembered else None
    assert list_versions(made.folder) == [1][:remembered]
    listings = dict(harm.listings)
    for n in range(4 - remembered):
        made.commit("two", {"c": n})
    if expired:
        expire_versions(made.name, 1, None, remove_them=True)
    draft = made.draft("one", {"a": 4})
    harm.listings, harm.behind = listings, True
    try:
        assert commit(made.name, base, draft, "one").version == 5
        with pytest.raises(ConflictError, match="corpus 'one' as version 5"):
            commit(made.name, base, made.draft("one", {"a": 5}), "one")
    finally:
        harm.behind = False
    assert list_versions(made.folder) == ([4, 5] if expired else [1, 2, 3, 4, 5])
    assert made.open().to_numpy()[0] == ["a", "c"]
