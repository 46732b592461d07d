"""Whatever happens to one of the requests of a commit: it has landed once, or it has not and says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from storage.bucket import _client
from storage.commit import commit
from storage.errors import PermafrostError
from storage.store import init_store
from storage.versions import list_versions, read_manifest
from tests.storage.conftest import MadeSet
from tests.storage.faulty_proxy import FAULTS, Harm, proxy
from tests.storage.s3 import new_bucket, serve

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


@pytest.fixture
def made(server: str, make_set: Callable[..., MadeSet]) -> MadeSet:
    place: Any = new_bucket(server)
    init_store(place)
    made = make_set(root=place)
    made.commit("one", {"a": 1, "b": 2})
    return made


def requests_of_a_commit(made: MadeSet, harm: Harm) -> int:
    draft = made.draft("two", {"c": 3})
    harm.seen.clear()
    commit(made.name, made.open().manifest, draft, "two")
    return len(harm.seen)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault if fault == "lost answer" else pytest.param(fault, marks=pytest.mark.full) for fault in FAULTS])
def test_a_commit_lands_once_or_says_that_it_has_not(made: MadeSet, harm: Harm, fault: str) -> None:
    count = requests_of_a_commit(made, harm)
    for at in range(count + 2):  # a request that is tried again adds some
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
