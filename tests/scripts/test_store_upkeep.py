"""The commands that look after a store, as they are typed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.damaged_sets import fill
from scripts.made_set import MadeSet
from storage.runs import RunFolder
from tests.scripts.conftest import Said
from tests.storage.conftest import make_set  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow


@pytest.fixture
def uri(make_set: Callable[..., MadeSet], tmp_path: Path) -> str:  # noqa: F811
    """Versions 1 to 3 of team/set; prod is 2."""
    shutil.copytree(fill(make_set()).name.root, tmp_path / "store")
    return "store/team/set"


def old(uri: str) -> None:
    for path in Path(uri).rglob("*"):
        os.utime(path, (time.time() - 172800,) * 2)


def test_tags_are_made_moved_listed_and_removed(say: Said, uri: str) -> None:
    code, out, _ = say("store", "tag", f"{uri}@1", "first")
    assert (code, [line.split()[:2] for line in out.splitlines()[1:]]) == (0, [["first", "1"], ["prod", "2"]])
    assert say("store", "tag", uri, "prod")[0] == 0
    assert [tag["version"] for tag in json.loads(say("store", "tag", uri, "--json")[1])["tags"]] == [1, 3]
    assert "first" not in say("store", "tag", uri, "first", "--delete")[1]
    for words, code, message in (
        ((f"{uri}@1",), 2, "expected the tag that is to mean it"),
        ((uri, "--delete"), 2, "the tag to remove"),
        ((uri, "7"), 2, "would be taken for a version"),
        ((uri, "nope", "--delete"), 1, "has no tag 'nope'; its tags: prod"),
        (("store/team/nothing", "x"), 1, "no feature set team/nothing"),
    ):
        got, _, err = say("store", "tag", *words)
        assert (got, message in err) == (code, True), err


def test_a_damaged_tag_hides_nothing_and_can_be_made_again_or_removed(say: Said, uri: str) -> None:
    path = Path(uri) / "tags" / "prod.json"
    sound = path.read_bytes()
    way_out = (
        rf"`permafrost store tag {uri}@VERSION prod` lets it mean a version again, `permafrost store tag {uri} prod --delete` lets it go"
    )
    for harm in (b"x", sound.replace(b"2", b"3", 1), sound[:-4], b"{}"):
        path.write_bytes(harm)
        say("store", "tag", f"{uri}@1", "other")
        for action in ("show", "versions", "tag"):
            code, out, err = say("store", action, uri, "--json")
            assert (code, way_out in err) == (0, True)
            assert action == "versions" or "prod" in json.loads(out)["damaged_tags" if action == "show" else "damaged"]
            assert "other" in say("store", action, f"{uri}@1" if action == "show" else uri)[1]
        code, _, err = say("store", "expire", uri, "--keep", "1", "--yes")
        assert (code, "nothing expires" in err, way_out in err) == (1, True, True)
        code, out, _ = say("store", "copy", uri, f"{uri}-copy", "--json")
        assert (code, json.loads(out)["tags"], json.loads(out)["lost"]) == (3, ["other"], ["tags/prod.json"])
        assert say("store", "tag", f"{uri}@2", "prod")[0] == 0
        assert say("store", "verify", uri)[0] == 0
        path.write_bytes(harm)
        (Path(uri) / "hint.json").unlink()
        assert "prod" not in say("store", "tag", uri, "prod", "--delete")[1]
        assert say("store", "expire", uri, "--keep", "3", "--yes")[0] == 0


def test_readers_name_what_is_lost_and_go_on(say: Said, uri: str, caplog: pytest.LogCaptureFixture) -> None:
    (Path(uri) / "versions" / "00000003.json").unlink()
    (Path(uri) / "tags" / "prod.json").unlink()
    for words in (("ls", "store"), ("show", uri), ("versions", uri), ("diff", f"{uri}@1"), ("export", uri, "all.npz")):
        caplog.clear()
        code, out, err = say("store", *words)
        assert (code, f"version 3 of {uri} is lost" in err + caplog.text) == (0, True), (words, err)
        if words[0] in ("ls", "show", "versions"):
            told = json.loads(say("store", *words, "--json")[1])
            assert (told["sets"][0] if words[0] == "ls" else told)["lost"] == [3]
    code, out, err = say("store", "tag", uri, "--json")
    assert (code, json.loads(out)["lost"], "tags that are lost: prod" in err) == (0, ["prod"], True)
    for at in ("3", "prod", "2100-01-01"):
        code, _, err = say("store", "show", f"{uri}@{at}")
        assert (code, "lost" in err) == (1, True)


def test_a_copy_of_a_set_that_has_lost_a_version_says_so(say: Said, uri: str) -> None:
    (Path(uri) / "versions" / "00000001.json").unlink()
    code, out, _ = say("store", "copy", uri, "copy/team/set")
    assert (code, "lost      versions/00000001.json" in out, "let it go in both" in out) == (3, True, True), out
    code, out, _ = say("store", "copy", uri, "copy/team/set", "--json")
    assert (code, json.loads(out)["lost"]) == (3, ["versions/00000001.json"])


def test_versions_are_told_apart(say: Said, uri: str) -> None:
    code, out, _ = say("store", "diff", f"{uri}@prod", uri)
    assert code == 0
    assert "removed             4  keys that are gone" in out
    assert "removed  one     a/0" in out
    found = json.loads(say("store", "diff", f"{uri}@2", "--json")[1])
    assert (found["counts"]["removed"], found["counts"]["added"], len(found["changes"])) == (4, 2, 6)
    assert say("store", "diff", uri)[0] == 2
    assert set(json.loads(say("store", "diff", f"{uri}@3", "--json")[1])["counts"].values()) == {0}


def test_damage_is_found_and_mended_by_command(say: Said, uri: str) -> None:
    shutil.copytree("store", "backup")
    code, out, _ = say("store", "verify", uri, "--full")
    assert (code, "every byte was read" in out, "sound" in out) == (0, True, True)
    shard = next(Path(uri, "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert say("store", "verify", uri)[0] == 0
    code, out, _ = say("store", "verify", uri, "--full")
    assert code == 3
    assert "1 files are damaged or missing" in out
    assert f"damaged  shards/{shard.name}" in out
    code, out, _ = say("store", "repair", uri)
    assert (code, "name a copy of the store with --from" in out) == (3, True)
    code, out, _ = say("store", "repair", uri, "--from", "backup")
    assert (code, "mended files  1" in out) == (0, True)
    shard.unlink()
    code, out, _ = say("store", "repair", uri, "--give-up", "--json")
    assert (code, json.loads(out)["left"]["sound"]) == (3, False)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text(path.read_text().replace("format", "fosmat"))])
def test_a_damaged_description_of_the_store_is_a_finding(say: Said, uri: str, harm: Callable[[Path], object]) -> None:
    shutil.copytree("store", "backup")
    harm(Path("store/permafrost.json"))
    code, out, _ = say("store", "verify", uri)
    assert (code, "../../permafrost.json" in out, "permafrost extract" in out) == (3, True, False)
    if not Path("store/permafrost.json").exists():
        assert "`permafrost store init store` makes it anew" in say("store", "ls", "store")[2]
    assert say("store", "repair", uri, "--from", "backup")[0] == 0
    assert say("store", "verify", uri)[0] == 0
    code, _, err = say("store", "verify", "nowhere/team/set")
    assert (code, "nowhere is not a feature store" in err) == (1, True)


def test_a_lost_version_is_found_and_given_up_by_command(say: Said, uri: str) -> None:
    Path(uri, "versions", "00000003.json").unlink()
    code, out, _ = say("store", "verify", uri)
    assert (code, "versions/00000003.json" in out, "hint.json tells of it" in out) == (3, True, True)
    code, _, err = say("store", "gc", uri, "--grace", "1m", "--yes")
    assert (code, "version 3 of" in err, "--give-up" in err) == (1, True, True)
    code, out, _ = say("store", "repair", uri, "--give-up")
    assert (code, "given up      versions/00000003.json" in out, "new version   4, without" in out) == (0, True, True), out
    old(uri)
    assert say("store", "gc", uri, "--grace", "1m", "--yes")[0] == 0
    assert say("store", "verify", uri, "--full")[0] == 0


def test_what_is_damaged_for_good_is_given_up_by_command(say: Said, uri: str) -> None:
    shard = next(Path(uri, "shards").iterdir())
    shard.write_bytes(b"x")
    manifest = Path(uri, "versions", "00000001.json")
    manifest.write_bytes(manifest.read_bytes()[:-9])
    code, out, _ = say("store", "repair", uri, "--give-up")
    assert (code, "given up      versions/00000001.json" in out, f"shards/{shard.name}" in out) == (3, True, True), out
    assert ("new version" in out, "store expire" in out, "--give-up" in out) == (True, True, False)
    assert ("items of corpus" in out, "what only the versions held that were given up comes back" in out) == (True, True)
    again = json.loads(say("store", "repair", uri, "--give-up", "--json")[1])
    assert (again["given_up"], any("store expire" in step for step in again["next_steps"])) == ([], True)
    for words in (("versions", uri), ("show", uri), ("export", uri, "all.npz"), ("gc", uri, "--yes"), ("tag", uri, "now")):
        assert say("store", *words)[0] == 0, words
    assert say("store", "tag", uri, "prod", "--delete")[0] == 0
    assert say("store", "expire", uri, "--keep", "1", "--yes")[0] == 0
    assert say("store", "verify", uri, "--full")[0] == 0


def test_one_damaged_set_keeps_no_other_from_being_listed(say: Said, uri: str, make_set: Callable[..., MadeSet]) -> None:  # noqa: F811
    for name in ("a", "b", "c"):
        fill(make_set(root=Path("store"), name=name))
    manifest = Path("store/team/a/versions/00000003.json")
    manifest.write_bytes(manifest.read_bytes()[:-9])
    Path("store/team/b/set.json").unlink()
    Path("store/team/c/set.json").write_text("{")
    code, out, _ = say("store", "ls", "store")
    lines = out.splitlines()
    assert (code, lines[1].split()[0], lines[2]) == (3, "team/set", "")
    told = [line for line in lines[4:] if line.startswith("team/")]  # the others go on with a long one
    assert [line.split()[0] for line in told] == ["team/a", "team/b", "team/c"]
    assert ("00000003.json" in told[0], "no set.json" in told[1]) == (True, True)
    code, out, _ = say("store", "ls", "store", "--json")
    found = json.loads(out)
    assert (code, [each["name"] for each in found["sets"]], [each["name"] for each in found["damaged"]]) == (
        3,
        ["team/set"],
        ["team/a", "team/b", "team/c"],
    )
    assert say("store", "ls", "store", "--name", "team/set")[0] == 0


def test_who_only_looks_writes_nothing(say: Said, uri: str) -> None:
    run = RunFolder(Path(uri), "20261127T140000Z-00000000")
    run.write_heartbeat({"host": "elsewhere", "pid": 1})
    os.utime(run.path / "heartbeat.json", (0, 0))  # type: ignore[arg-type]
    old(uri)
    before = {path: path.stat().st_mtime_ns for path in Path("store").rglob("*")}
    for words in (("gc", uri), ("rm", uri), ("ls", "store"), ("verify", uri), ("versions", uri)):
        assert say("store", *words)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in Path("store").rglob("*")} == before


def test_a_set_is_copied_by_command(say: Said, uri: str) -> None:
    code, out, _ = say("store", "copy", f"{uri}@prod", "other/team/copy")
    assert (code, "versions  2 (1 new)" in out, "tags      prod" in out) == (0, True, True)
    code, out, _ = say("store", "copy", uri, "other/team/copy", "--json")
    assert json.loads(out)["new_versions"] == [1, 3]
    assert say("store", "verify", "other/team/copy", "--full")[0] == 0


def test_what_leaves_is_told_first_and_done_with_yes(say: Said, uri: str) -> None:
    code, out, _ = say("store", "expire", uri, "--keep", "1")
    assert (code, "would leave  1" in out, "2 (tag prod), 3 (newest)" in out, "nothing was changed" in out) == (0, True, True, True)
    assert "left  1" in say("store", "expire", uri, "--keep", "1", "--yes")[1]
    old(uri)
    code, out, _ = say("store", "gc", uri)
    assert (code, "would delete" in out, "give --yes" in out) == (0, True, True)
    assert json.loads(say("store", "gc", uri, "--yes", "--json")[1])["done"]
    assert say("store", "verify", uri, "--full")[0] == 0
    head = Path("store/heads/me/best")
    head.mkdir(parents=True)
    (head / "head.json").write_text(json.dumps({"set": uri, "version": 2}))
    assert "would remove" in (told := say("store", "rm", uri)[1])
    assert "heads         me/best: fitted on it, and stay in store/heads" in told
    assert json.loads(say("store", "rm", uri, "--json")[1])["heads"] == ["me/best"]
    (head / "head.json").write_bytes(b"garbage")
    assert "head me/best may have been fitted on it, for its head.json is damaged" in say("store", "rm", uri)[2]
    assert say("store", "rm", uri, "--yes")[0] == 0
    assert not Path(uri).exists()


def test_a_set_is_compacted_by_command(say: Said, uri: str) -> None:
    code, out, _ = say("store", "compact", uri)
    assert (code, "would merge  5 shards, without 0 embeddings" in out, "nothing was changed" in out) == (0, True, True), out
    done = json.loads(say("store", "compact", uri, "--yes", "--json")[1])
    assert (done["before"]["files"], done["after"]["files"], done["version"]) == (5, 1, 4)
    assert "1 shards, " in say("store", "compact", uri)[1]
    assert say("store", "verify", uri, "--full")[0] == 0


def test_a_set_is_described_found_and_shown_by_command(say: Said, uri: str) -> None:
    Path("about.md").write_text("Numbers,\n*drawn*.\n")
    code, out, _ = say("store", "card", uri, "--owner", "team search", "--description", "@about.md")
    assert (code, "| Owner | team search |" in out, "\nNumbers,\n*drawn*.\n" in out) == (0, True, True)
    assert Path(uri, "README.md").read_text() == out
    assert json.loads(say("store", "card", uri, "--json")[1])["card"]["owner"] == "team search"
    found = json.loads(say("store", "ls", "store", "--name", "set", "--corpus", "/images/t*", "--json")[1])["sets"]
    assert [(each["name"], each["owner"], each["tags"]) for each in found] == [("team/set", "team search", ["prod"])]
    assert "team/set" not in say("store", "ls", "store", "--backbone", "vgg")[1]
    out = say("store", "show", f"{uri}@prod")[1]
    assert ("team search" in out, "tagged prod" in out, "Numbers," in out) == (True, True, True)
    assert "prod" in say("store", "versions", uri)[1]
    for words, code, message in (
        (("ls", "store", "--space", "resnet"), 2, "the beginning of its id"),
        (("card", uri, "--licence", "a\nb"), 2, "one line"),
        (("card", uri, "--description", "@nowhere.md"), 1, "no text in nowhere.md"),
        (("card", "store/team/nothing", "--owner", "x"), 1, "no feature set team/nothing"),
    ):
        got, _, err = say("store", *words)
        assert (got, message in err) == (code, True), err


def test_items_leave_and_are_relabelled_by_command(say: Said, uri: str) -> None:
    code, out, _ = say("store", "remove", uri, "--key", "a/5", "--key", "a/6")
    assert (code, "version  4" in out, "removed  2 items of corpus one" in out) == (0, True, True)
    Path("labels.csv").write_text("key,label\nb/0,x\nb/1,\n")
    assert json.loads(say("store", "relabel", uri, "labels.csv", "--json")[1])["version"] == 5
    assert "relabelled  nothing: version 5 has 2 items of corpus two so already" in say("store", "relabel", uri, "labels.csv")[1]
    Path("keys.txt").write_text("b/0\n")
    assert say("store", "remove", uri, "--keys", "keys.txt")[0] == 0
    for words, code, message in (
        (("remove", uri), 2, "expected the items to remove"),
        (("remove", uri, "--key", "zz"), 1, "has none of the keys, such as 'zz'"),
        (("remove", uri, "--key", "b/1", "--key", "zz"), 1, "has no 'zz' in corpus 'two'\n"),
        (("remove", f"{uri}@3", "--key", "b/0"), 0, ""),
        (("relabel", f"{uri}@3", "labels.csv"), 1, "a version after '@3' has changed 'b/0'"),
        (("relabel", uri, "keys.txt"), 2, "should end in .csv, .jsonl or .parquet"),
    ):
        got, _, err = say("store", *words)
        assert (got, message in err) == (code, True), err


def test_what_is_of_all_versions_is_not_asked_of_one(say: Said, uri: str) -> None:
    for command in ("verify", "repair"):
        code, _, err = say("store", command, f"{uri}@1")
        assert (code, "leave out '@1'" in err) == (2, True), err


def test_a_diff_across_stores_names_them(say: Said, uri: str) -> None:
    assert say("store", "copy", f"{uri}@1", "other/team/set")[0] == 0
    assert json.loads(say("store", "diff", f"{uri}@1", uri, "--json")[1])["old"] == "team/set@1"
    told = json.loads(say("store", "diff", "other/team/set", uri, "--json")[1])
    assert (told["old"], told["new"]) == ("other/team/set@1", f"{uri}@3")


def test_a_set_without_a_store_in_its_name_is_looked_for_here(say: Said, uri: str) -> None:
    code, _, err = say("store", "rm", "team/set")
    assert (code, "this folder: a set is named ROOT/TEAM/SET" in err) == (1, True), err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("expire",), "how many versions to keep, the age of those that may leave, or both: --keep 5, --older-than 30d"),
        (("expire", "--older-than", "30"), "such as 30d"),
        (("expire", "--older-than", "999999d"), "a hundred years at most"),
        (("gc", "--grace", "1y"), "such as 30d"),
        (("gc", "--grace", "59s", "--yes"), "expected 1m at least"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(say: Said, uri: str, words: tuple[str, ...], message: str) -> None:
    code, _, err = say("store", words[0], uri, *words[1:])
    assert (code, message in err) == (2, True)


def test_half_a_character_is_told_in_words(say: Said, uri: str) -> None:
    remove, export = ("remove", uri, "--key", "\udcff"), ("export", uri, "\ud800.parquet")
    for words, said in ((remove, "the key '\\udcff' has half a character"), (export, "text that is not valid UTF-8: '")):
        code, out, err = say("store", *words, "--json")
        assert (code, json.loads(out)["exit_code"], said in err) == (2, 2, True), err
