"""A version that is lost is found though it was the newest; nothing that it needs is removed, and its number is never taken again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.damaged_sets import files_of, fill
from scripts.made_set import MadeSet
from storage.absent import absent_versions
from storage.commit import open_newest
from storage.errors import ConflictError, DamagedError
from storage.expected_versions import expected_versions, missing_versions
from storage.expire import expire_versions
from storage.files import remove
from storage.finding import Finding
from storage.gc import collect_garbage
from storage.removal import remove_set
from storage.repair import repair_set
from storage.sealed import read_sealed, seal
from storage.tags import move_tag, remove_tag
from storage.verify import verify_set
from storage.versions import list_tags, list_versions
from storage.way_out import ways_out, ways_to_pending


@pytest.fixture
def made(make_set: Callable[..., MadeSet]) -> MadeSet:
    """Versions 1 to 3; prod is 2."""
    return fill(make_set())


@pytest.fixture
def copy(made: MadeSet, tmp_path: Path) -> Path:
    return shutil.copytree(made.name.root, tmp_path / "copy")


def lose(made: MadeSet, *versions: int) -> None:
    for version in versions:
        (Path(made.folder) / "versions" / f"{version:08d}.json").unlink()


def damage(made: MadeSet) -> list[Finding]:
    return [finding for finding in verify_set(made.name, full=False).findings if finding.is_damage]


def head_on(made: MadeSet, version: int) -> None:
    head = Path(made.name.root) / "heads" / "me" / "best"
    head.mkdir(parents=True)
    (head / "head.json").write_text(json.dumps({"set": f"{made.name}@{version}"}))


def test_all_versions_are_expected_but_those_that_have_left(made: MadeSet) -> None:
    assert list(expected_versions(made.name)) == [1, 2, 3]
    expire_versions(made.name, 1, None, remove_them=True)
    assert list(expected_versions(made.name)) == [2, 3]
    assert missing_versions(made.name) == {}


@pytest.mark.parametrize("teller", ["hint.json", "tag last", "head me/best"])
def test_whatever_tells_of_a_newest_version_that_is_lost_makes_it_missing(made: MadeSet, teller: str) -> None:
    if teller != "hint.json":
        head_on(made, 3) if teller == "head me/best" else move_tag(made.name, "last")
        (Path(made.folder) / "hint.json").unlink()
    lose(made, 3)
    assert missing_versions(made.name) == {3: teller}
    assert ("missing", "versions/00000003.json", f"it is not there, and {teller} tells of it") in {
        (finding.kind, finding.path, finding.message) for finding in damage(made)
    }


def test_a_tag_that_is_lost_is_told_when_it_is_given_up(made: MadeSet) -> None:
    (Path(made.folder) / "tags" / "prod.json").unlink()
    assert [finding.path for finding in damage(made)] == ["tags/prod.json"]
    made.commit("one", {"new": 9})
    assert [finding.path for finding in damage(made)] == ["tags/prod.json"], "a lost one stays told of"
    repair = repair_set(made.name, give_up=True)
    assert (repair.given_up, repair.left.findings) == (("tags/prod.json",), ())


def test_a_tag_that_is_lost_can_be_removed_and_made_again(made: MadeSet) -> None:
    for again in (remove_tag, move_tag):
        move_tag(made.name, "prod")
        (Path(made.folder) / "tags" / "prod.json").unlink()
        again(made.name, "prod")
        assert damage(made) == []
    assert [tag.version for tag in list_tags(made.name)] == [3]


def test_a_gap_and_a_tag_that_means_it_are_damage(made: MadeSet) -> None:
    lose(made, 2)
    assert {(finding.kind, finding.path) for finding in damage(made)} == {
        ("missing", "versions/00000002.json"),
        ("dangling", "tags/prod.json"),
    }


def test_the_only_version_is_missed(make_set: Callable[..., MadeSet]) -> None:
    made = make_set()
    made.commit("one", {"a": 1})
    lose(made, 1)
    assert [finding.path for finding in damage(made)] == ["versions/00000001.json"]
    with pytest.raises(DamagedError, match=r"version 1 of .* should be there"):
        collect_garbage(made.name, delete=True, grace_seconds=-1)
    assert repair_set(made.name, give_up=True).left.sound is False, "there is nothing to go on from"


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_nothing_is_collected_while_a_version_is_missing(made: MadeSet, lost: int) -> None:
    lose(made, lost)
    before = files_of(made)
    with pytest.raises(DamagedError, match=rf"version {lost} of .* should be there and is not .* tells of it.*--give-up"):
        collect_garbage(made.name, delete=True, grace_seconds=-1)
    assert files_of(made) == before


def test_a_lost_number_is_not_taken_again(made: MadeSet) -> None:
    lose(made, 3)
    with pytest.raises(ConflictError, match=r"version 3 of .* should be there and is not: .*--give-up"):
        made.commit("one", {"a/1": 1})
    move_tag(replace(made.name, at="2"), "other")  # leaves a new hint
    assert list(missing_versions(made.name)) == [3]


@pytest.mark.parametrize("teller", ["tag last", "head me/best"])
def test_a_lost_number_that_only_a_tag_or_head_tells_of_is_not_taken_again(made: MadeSet, teller: str) -> None:
    """The hint is of a backup from before."""
    hint, lost = Path(made.folder) / "hint.json", Path(made.folder) / "versions" / "00000004.json"
    before = hint.read_bytes()
    assert made.commit("one", {"a/1": 1}).version == 4
    head_on(made, 4) if teller == "head me/best" else move_tag(made.name, "last")
    content = lost.read_bytes()
    hint.write_bytes(before)
    lost.unlink()
    for write in (lambda: made.commit("one", {"a/1": 2}), lambda: open_newest(made.name)):
        with pytest.raises(ConflictError, match=r"version 4 of .* should be there and is not: .*--give-up"):
            write()
    lost.write_bytes(content)
    assert made.commit("one", {"a/1": 2}).version == 5
    lose(made, 4, 5)
    assert repair_set(made.name, give_up=True).version == 6
    assert made.commit("one", {"a/1": 2}).version == 7


def test_expiry_makes_no_loss_look_meant(made: MadeSet) -> None:
    made.commit("one", {"a/1": 1})
    lose(made, 3)
    assert expire_versions(made.name, 1, None, remove_them=True).leaving == (1,)
    assert absent_versions(made.name) == {1}
    assert list(missing_versions(made.name)) == [3]


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_lost_version_and_what_it_lists_come_from_a_copy(made: MadeSet, copy: Path, lost: int) -> None:
    before = {path: path.read_bytes() for path in files_of(made)}
    for entry in made.open(str(lost)).manifest.files:
        (Path(made.folder) / entry.path).unlink(missing_ok=True)
    lose(made, lost)
    repair = repair_set(made.name, [copy])
    assert (repair.left.findings, repair.given_up) == ((), ())
    assert {path: path.read_bytes() for path in files_of(made)} == before


def test_a_newest_version_that_nobody_has_is_given_up(made: MadeSet) -> None:
    move_tag(made.name, "last")
    state = made.open("2").to_numpy()[0]
    lose(made, 3)
    repair = repair_set(made.name, give_up=True)
    assert (repair.given_up, repair.version) == (("versions/00000003.json", "tags/last.json"), 4)
    assert repair.left.sound
    assert (list_versions(made.folder), absent_versions(made.name)) == ([1, 2, 4], {3})
    assert (made.open().version, made.open().manifest.parent, made.open().to_numpy()[0]) == (4, 2, state)
    assert collect_garbage(made.name, delete=True, grace_seconds=-1).files != ()
    assert made.commit("one", {"a/1": 1}).version == 5
    assert verify_set(made.name, full=True).findings == ()


def test_a_gap_that_nobody_can_fill_is_given_up(made: MadeSet) -> None:
    lose(made, 2)
    repair = repair_set(made.name, give_up=True)
    assert (repair.given_up, repair.version) == (("versions/00000002.json", "tags/prod.json"), None)
    assert repair.left.sound
    assert (list_versions(made.folder), absent_versions(made.name)) == ([1, 3], {2})


def harm(made: MadeSet, version: int) -> Path:
    path = Path(made.folder) / "versions" / f"{version:08d}.json"
    path.write_bytes(path.read_bytes()[:-20])
    return path


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_manifest_that_cannot_be_read_is_a_lost_version(made: MadeSet, damaged: int) -> None:
    move_tag(replace(made.name, at=str(damaged)), "some")
    path = harm(made, damaged)
    repair = repair_set(made.name, give_up=True)
    assert ({*repair.given_up} >= {f"versions/{damaged:08d}.json", "tags/some.json"}, repair.version) == (True, None)
    assert (repair.left.sound, path.exists(), absent_versions(made.name)) == (True, False, {damaged})
    collect_garbage(made.name, delete=True, grace_seconds=-1)
    assert made.commit("one", {"a/1": 1}).version == 4
    assert [finding for finding in verify_set(made.name, full=True).findings if finding.is_damage] == []


def test_a_newest_manifest_that_cannot_be_read_is_followed_by_the_one_before(made: MadeSet) -> None:
    move_tag(made.name, "last")
    state = made.open("2").to_numpy()[0]
    harm(made, 3)
    repair = repair_set(made.name, give_up=True)
    assert (repair.given_up, repair.version) == (("versions/00000003.json", "tags/last.json"), 4)
    assert (repair.left.sound, list_versions(made.folder), absent_versions(made.name)) == (True, [1, 2, 4], {3})
    assert made.open().to_numpy()[0] == state
    assert repair_set(made.name, give_up=True).given_up == ()


def test_manifests_that_are_damaged_and_lost_go_together(made: MadeSet) -> None:
    harm(made, 2)
    lose(made, 3)
    repair = repair_set(made.name, give_up=True)
    assert (repair.version, list_versions(made.folder), absent_versions(made.name)) == (4, [1, 4], {2, 3})
    assert repair.left.sound


def test_where_no_manifest_can_be_read_the_way_out_is_told(made: MadeSet) -> None:
    for version in (1, 2, 3):
        harm(made, version)
    repair = repair_set(made.name, give_up=True)
    assert (repair.given_up, list_versions(made.folder)) == ((), [1, 2, 3])
    ways = ways_out(made.name, repair.left)
    assert all("no older version to go on from" in way and "store rm" in way for way in ways)
    assert ways_to_pending(made.name) == []


def test_a_manifest_of_a_newer_format_is_left_to_whoever_can_read_it(made: MadeSet) -> None:
    path = Path(made.folder) / "versions" / "00000003.json"
    path.write_bytes(seal({**read_sealed(path, "manifest"), "format": 2}))
    repair = repair_set(made.name, give_up=True)
    assert (repair.given_up, path.exists()) == ((), True)
    assert ["another format" in way for way in ways_out(made.name, repair.left)] == [True]


def test_a_damaged_tag_goes_when_asked(made: MadeSet) -> None:
    (Path(made.folder) / "tags" / "prod.json").write_bytes(b"x")
    repair = repair_set(made.name, give_up=True)
    assert (repair.given_up, repair.left.sound) == (("tags/prod.json",), True)


def test_a_tag_that_the_hint_names_is_missed_until_it_is_given_up(made: MadeSet) -> None:
    (Path(made.folder) / "tags" / "prod.json").unlink()
    assert [(finding.kind, finding.path) for finding in damage(made)] == [("missing", "tags/prod.json")]
    assert repair_set(made.name, give_up=True).left.sound


def test_a_damaged_list_of_absent_versions_is_made_again_when_asked(made: MadeSet) -> None:
    expire_versions(made.name, 1, None, remove_them=True)
    (Path(made.folder) / "absent.json").write_bytes(b"x")
    with pytest.raises(DamagedError, match="list of absent versions"):
        collect_garbage(made.name, delete=True, grace_seconds=-1)
    assert repair_set(made.name, give_up=True).left.sound
    assert absent_versions(made.name) == {1}


def test_after_a_removal_that_was_cut_off_the_set_may_be_made_anew(made: MadeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def remove_but_die(place: Path) -> None:
        if place.name == "set.json":
            raise KeyboardInterrupt
        remove(place)

    with monkeypatch.context() as patch:
        patch.setattr("storage.removal.remove", remove_but_die)
        with pytest.raises(KeyboardInterrupt):
            remove_set(made.name, remove_it=True)
    assert list_versions(made.folder) == []
    assert made.commit("one", {"a/1": 1}).version == 1
