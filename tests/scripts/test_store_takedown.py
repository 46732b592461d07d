"""`permafrost store takedown`, as it is typed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.made_set import MadeSet
from tests.scripts.conftest import Said
from tests.storage.conftest import make_set  # noqa: F401 - a fixture
from tests.storage.traces import traces

STORE = Path("store")


@pytest.fixture
def made(make_set: Callable[..., MadeSet], tmp_path: Path) -> MadeSet:  # noqa: F811
    made = make_set(root=tmp_path / "store")
    made.commit("one", {"a": 1, "b": 2, "c": 3})
    made.commit("one", {"a": 1, "b": 2})
    return made


def test_it_tells_first_and_does_it_with_yes(say: Said, made: MadeSet) -> None:
    digest = made.digest(1).hex()
    code, out, _ = say("store", "takedown", "store", "--image", digest)
    assert (code, "would do" in out, "nothing was changed: give --yes" in out) == (0, True, True)
    assert [line.split() for line in out.splitlines() if line.startswith("team/set")] == [
        ["team/set", "1", "1", "0"],
        ["team/set", "2", "1", "0"],
    ]
    assert traces(STORE, [], ["a"])
    code, out, _ = say("store", "takedown", "store", "--image", digest, "--yes")
    assert (code, "2 versions" in out, "copies of the store, exports" in out) == (0, True, True)
    assert traces(STORE, [made.embedding(1).tobytes()], ["a"]) == []
    code, out, _ = say("store", "takedown", "store", "--image", digest, "--yes")
    assert (code, "nothing holds it" in out) == (0, True)
    assert say("store", "verify", "store/team/set", "--full")[0] == 0


def test_many_at_once_from_files(say: Said, made: MadeSet) -> None:
    Path("photo.jpg").write_bytes(b"3")  # pictures are numbers: so is its digest
    assert hashlib.sha256(b"3").digest() == made.digest(3)
    Path("images.txt").write_text(f"photo.jpg\n{made.digest(2).hex()}\n")
    code, out, _ = say("store", "takedown", "store/team/set", "--images", "images.txt", "--yes", "--json")
    told = json.loads(out)
    assert (code, told["done"], told["unreached"]) == (0, True, [])
    assert [(loss["version"], loss["items"]) for loss in told["sets"][0]["versions"]] == [(1, 2), (2, 1)]
    assert traces(STORE, [], ["b", "c"]) == []
    Path("keys.txt").write_text("a\n")
    assert say("store", "takedown", "store/team/set", "--keys", "keys.txt", "--corpus", "one", "--yes")[0] == 0
    assert traces(STORE, [made.embedding(1).tobytes()], ["a"]) == []


def test_what_is_not_reached_is_named(say: Said, made: MadeSet) -> None:
    head = Path("store/heads/me/best")
    head.mkdir(parents=True)
    (head / "head.json").write_text(json.dumps({"set": f"{made.name}@1"}))
    code, out, _ = say("store", "takedown", "store", "--image", made.digest(1).hex(), "--yes")
    assert (code, "- head me/best was fitted on version 1 of team/set" in out) == (3, True)


def test_what_nothing_had_is_named(say: Said, made: MadeSet) -> None:
    asked = ("store", "takedown", "store/team/set", "--key", "c", "--key", "typo")
    code, out, _ = say(*asked)
    assert (code, "\n- typo\n" in out, "\n- c\n" in out) == (0, True, False)
    code, out, _ = say(*asked, "--yes", "--json")
    assert (code, json.loads(out)["not_found"]) == (3, ["typo"]), "c is only in an older version"
    [receipt] = (STORE / "takedowns" / "receipts").iterdir()
    assert json.loads(receipt.read_text())["not_found"] == [hashlib.sha256(b"typo").hexdigest()]
    code, out, _ = say(*asked, "--yes", "--json")
    assert (code, json.loads(out)["not_found"]) == (3, ["typo"]), "the same again"
    assert say("store", "takedown", "store/team/set", "--key", "c", "--key", "a", "--yes")[0] == 0, "what was taken down before was there"
    assert say("store", "takedown", "store/team/set", "--key", "c", "--key", "a", "--yes")[0] == 0
    wrong = "0" * 64
    code, out, _ = say("store", "takedown", "store", "--image", made.digest(2).hex(), "--image", wrong, "--yes")
    assert (code, f"\n- {wrong}\n" in out, made.digest(2).hex() in out) == (3, True, False)
    assert say("store", "takedown", "store", "--image", made.digest(2).hex(), "--yes")[0] == 0
    assert say("store", "verify", "store/team/set", "--full")[0] == 0


def test_a_key_that_was_taken_down_with_others_is_told_as_such(say: Said, made: MadeSet) -> None:
    assert say("store", "takedown", "store/team/set", "--key", "a", "--key", "c", "--yes")[0] == 0
    code, _, err = say("store", "takedown", "store/team/set", "--key", "a", "--yes")
    assert (code, "has the key 'a': it was taken down before, and is kept out" in err) == (1, True), err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("store",), 2, "expected images or keys to take down: --image, --images, --key or --keys"),
        (("store/team/set", "--keys", "empty.txt", "--yes"), 2, "empty.txt is empty: expected what to take down, one a line"),
        (("store", "--images", "empty.txt", "--yes"), 2, "empty.txt is empty"),
        (("store", "--image", "empty.txt", "--yes"), 2, "'empty.txt' is an empty file, and no image"),
        (("store", "--key", "a"), 2, "a key belongs to a set"),
        (("store/team/set", "--key", "nope"), 1, "has the key 'nope'"),
        (("store/team/set", "--key", "nope", "--key", "nor", "--yes"), 1, "has the key 'nope', nor 1 more of the keys"),
        (("store/team/set@1", "--key", "a"), 2, "leave out '@1'"),
        (("store/team/set", "--key", ""), 2, "an empty key"),
        (("store/team/set", "--keys", "gap.txt"), 2, "an empty key"),
        (("store", "--image", "nope.jpg"), 1, "neither a sha256"),
        (("store", "--image", "store"), 2, "is a folder"),
        (("store", "--images", "nope.txt"), 2, "cannot be read as text"),
        (("nowhere/team/set", "--key", "a"), 1, "not a feature store"),
        (("nowhere", "--key", "a"), 1, "nowhere is not a feature store"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(say: Said, made: MadeSet, words: tuple[str, ...], code: int, message: str) -> None:
    Path("gap.txt").write_text("a\n\nb\n")
    Path("empty.txt").write_text("")
    got, _, err = say("store", "takedown", *words)
    assert (got, message in err) == (code, True), err


def test_what_a_backup_brought_back_is_told_by_name_and_number(say: Said, made: MadeSet) -> None:
    shutil.copytree("store/team/set", "backup")
    say("store", "takedown", "store", "--image", made.digest(1).hex(), "--yes")
    shutil.copytree("backup", "store/team/set", dirs_exist_ok=True)
    code, out, _ = say("store", "verify", "store/team/set", "--full")
    assert (code, "files hold what was taken down" in out, "damaged or missing" in out) == (3, True, False)
    code, out, _ = say("store", "repair", "store/team/set")
    assert (code, "files that held what was taken down" in out, "sound" in out) == (0, True, True)
    assert "taken out" not in say("store", "repair", "store/team/set")[1]
