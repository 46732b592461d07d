"""A store behind a web server that lists nothing: whole sets by the store's own hints, and nothing can be written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import storage
from scripts.made_set import MadeSet
from storage.card import set_card
from storage.catalog import list_sets
from storage.changes import remove
from storage.compact import compact_set
from storage.errors import DamagedError, NotFoundError, UsageError
from storage.expire import expire_versions
from storage.gc import collect_garbage
from storage.import_features import import_features
from storage.leaderboard import leaderboards
from storage.names import SetName, parse_root
from storage.place import Place
from storage.removal import remove_set
from storage.repair import repair_set
from storage.shard_cache import cache_folder
from storage.store import ensure_store, init_store
from storage.tags import move_tag, remove_tag
from storage.takedown import Request, take_down
from storage.transfer import copy_set
from storage.verify import verify_set
from storage.version_diff import diff_versions
from tests.storage.traces import traces

pytestmark = pytest.mark.slow


class Quiet(SimpleHTTPRequestHandler):
    def list_directory(self, path: object) -> None:
        self.send_error(403, "no listing here")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def made(make_set: Callable[..., MadeSet]) -> MadeSet:
    made = make_set()
    made.commit("photos", {f"{i}": i for i in range(5)})
    made.commit("photos", {f"{i}": i for i in range(3)})
    move_tag(replace(made.name, at="1"), "prod")
    return made


@pytest.fixture
def url(made: MadeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of the store of `made`, some folders below the server's own."""
    monkeypatch.setenv("PERMAFROST_CACHE", str(tmp_path / "cache"))
    root = Path(made.name.root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/{root.name}"
    server.shutdown()
    server.server_close()


def test_a_set_is_read_by_version_tag_and_day(made: MadeSet, url: str) -> None:
    assert storage.open(f"{url}/team/set").version == 2
    assert storage.open(f"{url}/team/set@prod").version == 1
    assert storage.open(f"{url}/team/set@2100-01-01").version == 2
    keys, embeddings = storage.open(f"{url}/team/set@1").to_numpy()
    assert keys == [f"{i}" for i in range(5)]
    np.testing.assert_array_equal(embeddings, made.embeddings(range(5)))
    assert diff_versions(storage.open(f"{url}/team/set@1"), storage.open(f"{url}/team/set")).counts["removed"] == 2
    with pytest.raises(NotFoundError, match="has no version 9"):
        storage.open(f"{url}/team/set@9")
    with pytest.raises(NotFoundError, match="its tags: prod"):
        storage.open(f"{url}/team/set@test")


def test_its_sets_are_listed(url: str, made: MadeSet, make_set: Callable[..., MadeSet]) -> None:
    make_set(root=made.name.root, name="other").commit("photos", {"a": 1})
    assert [(each.name, each.version) for each in list_sets(parse_root(url))] == [("team/other", 1), ("team/set", 2)]
    with pytest.raises(NotFoundError, match="the store has team/other, team/set"):
        storage.open(f"{url}/team/nothing")


def test_without_a_sound_catalog_its_sets_cannot_be_listed(url: str, made: MadeSet) -> None:
    catalog = Path(made.name.root) / "catalog.json"
    for content in (b"{}", catalog.read_bytes().replace(b"team", b"tean")):
        catalog.write_bytes(content)
        with pytest.raises(DamagedError, match=r"catalog .* is damaged.*store repair"):
            list_sets(parse_root(url))
        [finding] = verify_set(SetName(parse_root(url), "team", "set"), full=False).findings
        assert (finding.kind, "the catalog at" in finding.message) == ("damaged", True)
    catalog.unlink()
    with pytest.raises(NotFoundError, match=r"there is no http.*/catalog.json, which names the sets"):
        list_sets(parse_root(url))
    assert storage.open(f"{url}/team/set").version == 2
    with pytest.raises(NotFoundError, match="no feature set team/nothing"):
        storage.open(f"{url}/team/nothing")


def test_versions_that_are_newer_than_the_hint_are_found(made: MadeSet, url: str) -> None:
    stale = (Path(made.folder) / "hint.json").read_bytes()
    for picture in (7, 8, 9):
        made.commit("photos", {"a": picture})
    (Path(made.folder) / "hint.json").write_bytes(stale)
    assert storage.open(f"{url}/team/set").version == 5
    (Path(made.folder) / "hint.json").unlink()
    assert storage.open(f"{url}/team/set").version == 5


def test_what_was_taken_down_leaves_the_cache_of_readers(made: MadeSet, url: str) -> None:
    storage.open(f"{url}/team/set@1").to_numpy()
    assert traces(cache_folder(), [made.embedding(1).tobytes()], ["1"])
    take_down(made.name.root, None, Request(images=(made.digest(1).hex(),)), do_it=True)
    assert storage.open(f"{url}/team/set@1").to_numpy()[0] == ["0", "2", "3", "4"]
    assert traces(cache_folder(), [made.embedding(1).tobytes()], ["1"]) == []


@pytest.mark.parametrize("read", [lambda root, made: leaderboards(root), lambda root, made: repair_set(made.name, [root])])
def test_who_only_takes_heads_or_files_from_it_is_a_reader_too(made: MadeSet, url: str, read: Callable[[Place, MadeSet], object]) -> None:
    storage.open(f"{url}/team/set@1").to_numpy()
    take_down(made.name.root, None, Request(images=(made.digest(1).hex(),)), do_it=True)
    read(parse_root(url), made)
    assert traces(cache_folder(), [made.embedding(1).tobytes()], ["1"]) == []


def test_it_can_be_verified_and_copied(made: MadeSet, url: str, tmp_path: Path) -> None:
    name = SetName(parse_root(url), "team", "set")
    assert verify_set(name, full=True).sound
    target = SetName(tmp_path / "mine", "team", "set")
    assert copy_set(name, target).versions == (1, 2)
    assert storage.open(str(target)).to_numpy()[0] == ["0", "1", "2"]


def test_nothing_can_be_written(url: str, made: MadeSet) -> None:
    behind = replace(made, name=replace(made.name, root=parse_root(url)))
    for write in (
        lambda: behind.commit("photos", {"a": 1}),
        lambda: move_tag(behind.name, "test"),
        lambda: init_store(parse_root(f"{url}/new")),
        lambda: init_store(parse_root(url)),
        lambda: remove_set(behind.name, remove_it=False),
        lambda: collect_garbage(behind.name, delete=False),
        lambda: expire_versions(behind.name, 1, None, remove_them=False),
        lambda: take_down(behind.name.root, None, Request(images=("0" * 64,)), do_it=False),
        lambda: remove_tag(behind.name, "prod"),
        lambda: set_card(behind.name, owner="me"),
        lambda: compact_set(behind.name, do_it=True),
        lambda: remove(behind.uri, ["0"]),
        lambda: import_features(Path("no.npz"), behind.uri),
        lambda: repair_set(behind.name, [made.name.root]),
    ):
        with pytest.raises(UsageError, match="behind a web server, where nothing can be written"):
            write()
    ensure_store(parse_root(url))


def test_what_is_no_store_is_told(url: str) -> None:
    with pytest.raises(NotFoundError, match=r"is not a feature store .*; name the folder of the web server in which permafrost.json"):
        storage.open(f"{url}x/team/set")


def test_a_server_that_answers_no_head_is_read_by_get(made: MadeSet, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quiet, "do_HEAD", lambda self: self.send_error(405))
    assert storage.open(f"{url}/team/set").to_numpy()[0] == ["0", "1", "2"]
    assert verify_set(SetName(parse_root(url), "team", "set"), full=True).sound
    with pytest.raises(NotFoundError, match="is not a feature store"):
        storage.open(f"{url}x/team/set")
