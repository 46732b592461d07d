"""A store behind a web server that lists nothing: whole sets by the store's own hints, and nothing can be written."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

import storage
from scripts.made_set import MadeSet
from storage.card import set_card
from storage.catalog import list_manifests, list_sets
from storage.changes import remove
from storage.compact import compact_set
from storage.errors import DamagedError, NotFoundError, PermafrostError, UsageError
from storage.expire import expire_versions
from storage.gc import collect_garbage
from storage.import_features import import_features
from storage.leaderboard import leaderboards
from storage.names import SetName, parse_root, parse_set
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


class PageForAll(Quiet):
    """As of an application in the browser, which looks at the path itself."""

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        if Path(self.translate_path(self.path)).is_file():
            return super().send_head()
        page = b"<!doctype html><html>hello</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        return io.BytesIO(page)


class JsonForAll(Quiet):
    def send_head(self) -> io.BytesIO | BinaryIO | None:
        if "/versions/" not in self.path or Path(self.translate_path(self.path)).is_file():
            return super().send_head()
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        return io.BytesIO(b"{}")


class Forbidding(Quiet):
    """As S3 answers who may not list."""

    instead = 403

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        super().send_error(self.instead if code == HTTPStatus.NOT_FOUND else code, message, explain)


class Gone(Forbidding):
    instead = 410


@pytest.fixture
def made(make_set: Callable[..., MadeSet]) -> MadeSet:
    made = make_set()
    made.commit("photos", {f"{i}": i for i in range(5)})
    made.commit("photos", {f"{i}": i for i in range(3)})
    move_tag(replace(made.name, at="1"), "prod")
    return made


@contextmanager
def published(root: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    """The address of a store, some folders below the server's own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(root.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/{root.name}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def url(made: MadeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("PERMAFROST_CACHE", str(tmp_path / "cache"))
    with published(Path(made.name.root)) as address:
        yield address


def test_a_set_is_read_by_version_tag_and_day(made: MadeSet, url: str) -> None:
    assert storage.open(f"{url}/team/set").version == 2
    assert storage.open(f"{url}/team/set@prod").version == 1
    assert storage.open(f"{url}/team/set@2100-01-01").version == 2
    keys, embeddings = storage.open(f"{url}/team/set@1").to_numpy()
    assert keys == [f"{i}" for i in range(5)]
    np.testing.assert_array_equal(embeddings, made.embeddings(range(5)))
    assert diff_versions(storage.open(f"{url}/team/set@1"), storage.open(f"{url}/team/set")).counts["removed"] == 2
    with pytest.raises(NotFoundError, match="has no version 9; its hint tells of versions 1 to 2"):
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


def test_versions_that_have_expired_since_the_hint_was_left_are_not_lost(
    made: MadeSet, url: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    remove_tag(made.name, "prod")
    made.commit("photos", {"a": 7})
    stale = (Path(made.folder) / "hint.json").read_bytes()
    expire_versions(made.name, 1, None, remove_them=True)
    (Path(made.folder) / "hint.json").write_bytes(stale)
    caplog.clear()
    assert storage.open(f"{url}/team/set").version == 3
    assert [each.version for each in list_manifests(f"{url}/team/set")] == [3]
    with pytest.raises(NotFoundError, match="has no version 1 any more"):
        storage.open(f"{url}/team/set@1")
    with pytest.raises(NotFoundError, match="has expired"):
        storage.open(f"{url}/team/set@2001-01-01")
    assert copy_set(parse_set(f"{url}/team/set"), SetName(tmp_path / "copy", "team", "set")).lost == ()
    assert caplog.text == ""


@pytest.mark.parametrize("hint", ["lost", "old", "damaged"])
def test_without_a_sound_hint_versions_are_found_past_those_that_have_expired(
    made: MadeSet, url: str, hint: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    remove_tag(made.name, "prod")
    content = {"lost": b"", "old": (path := Path(made.folder) / "hint.json").read_bytes(), "damaged": b"{}"}[hint]
    for picture in (7, 8, 9):
        made.commit("photos", {"a": picture})
    expire_versions(made.name, 1, None, remove_them=True)
    path.write_bytes(content) if content else path.unlink()
    caplog.clear()
    assert [storage.open(f"{url}/team/set{at}").version for at in ("", "@5")] == [5, 5]
    assert [each.version for each in list_manifests(f"{url}/team/set")] == [5]
    assert copy_set(parse_set(f"{url}/team/set"), SetName(tmp_path / "copy", "team", "set")).versions == (5,)
    assert verify_set(parse_set(f"{url}/team/set"), full=True).sound == (hint != "damaged")
    assert "lost" not in caplog.text


@pytest.mark.parametrize("is_hint_old", [False, True])
def test_where_no_version_can_be_found_nothing_is_sound_or_copied(made: MadeSet, url: str, is_hint_old: bool, tmp_path: Path) -> None:
    """Version 2 has left, 3 is lost with its marker, and nobody tells of 4; asked for by its number it can be had."""
    remove_tag(made.name, "prod")
    old = (Path(made.folder) / "hint.json").read_bytes()
    for picture in (7, 8):
        made.commit("photos", {"a": picture})
    expire_versions(made.name, 1, None, remove_them=True)
    (Path(made.folder) / "absent" / "00000003.json").unlink()
    (Path(made.folder) / "hint.json").write_bytes(old) if is_hint_old else (Path(made.folder) / "hint.json").unlink()
    name, copy = parse_set(f"{url}/team/set"), SetName(tmp_path / "copy", "team", "set")
    for read in (
        lambda: storage.open(f"{url}/team/set"),
        lambda: verify_set(name, full=True),
        lambda: copy_set(name, copy),
        lambda: storage.open(f"{url}/team/set@2100-01-01"),
    ):
        with pytest.raises(NotFoundError, match=r"can be found over the web: .*store repair|may have been the newest then"):
            read()
    assert not Path(copy.folder).exists()
    assert storage.open(f"{url}/team/set@4").version == 4
    with pytest.raises(NotFoundError, match="has no version 9; "):
        storage.open(f"{url}/team/set@9")
    assert copy_set(parse_set(f"{url}/team/set@4"), copy).versions == (4,)


def test_a_lost_newest_version_is_noted_over_the_web_too(made: MadeSet, url: str, caplog: pytest.LogCaptureFixture) -> None:
    (Path(made.folder) / "versions" / "00000002.json").unlink()
    assert storage.open(f"{url}/team/set").version == 1
    assert "version 2 of" in caplog.text
    assert [(each.version, each.lost) for each in list_sets(parse_root(url))] == [(1, (2,))]
    assert [each.version for each in list_manifests(f"{url}/team/set")] == [1]
    for at in ("2", "2100-01-01"):
        with pytest.raises(DamagedError, match=r"version 2 of .* is lost"):
            storage.open(f"{url}/team/set@{at}")


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("handler", [PageForAll, JsonForAll, Forbidding, Gone])
def test_a_server_that_has_other_answers_than_404_is_read_as_well(
    made: MadeSet, handler: type[Quiet], caplog: pytest.LogCaptureFixture
) -> None:
    with published(Path(made.name.root), handler) as url:
        assert storage.open(f"{url}/team/set").to_numpy()[0] == ["0", "1", "2"]
        assert ("version 3 is passed over, and no newer one is looked for" in caplog.text) == (handler is JsonForAll)
        assert [each.name for each in list_sets(parse_root(url))] == ["team/set"]
        assert verify_set(SetName(parse_root(url), "team", "set"), full=True).findings == ()
        with pytest.raises(NotFoundError, match="has no version 9; its hint tells of versions 1 to 2"):
            storage.open(f"{url}/team/set@9")


@pytest.mark.usefixtures("own_cache")
def test_a_server_that_does_not_let_in_is_told(made: MadeSet) -> None:
    with published(Path(made.name.root), Forbidding) as url, pytest.raises(PermafrostError, match=r"does not let you in: .*403"):
        storage.open(f"{url}x/team/set")


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
