"""What was taken down and comes back with a backup is read by nobody, is called unfinished, and is taken out again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import storage
from scripts.damaged_sets import fill
from scripts.made_set import MadeSet
from storage.commit import commit, open_newest
from storage.errors import ConflictError, DamagedError
from storage.expire import expire_versions
from storage.gc import collect_garbage
from storage.names import SetName
from storage.repair import repair_set
from storage.takedown import Request, take_down
from storage.tombstones import leave_record, read_tombstones
from storage.transfer import copy_set
from storage.verify import verify_set
from storage.way_out import ways_out
from tests.storage.traces import traces

SAID = r"version {} of .* holds what was taken down: .* it is back, from a backup, say. `permafrost store repair .*/team/set` takes it out"
BY = ["image", "image of the set", "key"]


@pytest.fixture
def made(make_set: Callable[..., MadeSet]) -> MadeSet:
    """Versions 1 to 3; a/8, picture 8, is in version 3 alone."""
    return fill(make_set())


def restore(made: MadeSet, tmp_path: Path, by: str) -> None:
    """Take picture 8 down, and lay a copy of the set from before over it."""
    backup = shutil.copytree(Path(str(made.folder)), tmp_path / "backup")
    request = Request(keys=("a/8",)) if by == "key" else Request(images=(made.digest(8).hex(),))
    take_down(made.name.root, None if by == "image" else made.name, request, do_it=True)
    assert (made.open().rows, verify_set(made.name, full=True).sound) == (9, True)
    shutil.copytree(backup, Path(str(made.folder)), dirs_exist_ok=True)


@pytest.mark.slow
@pytest.mark.parametrize("by", BY)
def test_a_backup_brings_nothing_back(made: MadeSet, tmp_path: Path, by: str) -> None:
    restore(made, tmp_path, by)
    for at in (None, "3"):
        with pytest.raises(DamagedError, match=SAID.format(3)):
            made.open(at)
    assert made.open("1").rows == 7, "which never held it"
    with pytest.raises(DamagedError, match=SAID.format(3)):
        copy_set(made.name, SetName(tmp_path / "copies", "team", "set"))
    for full in (False, True):
        found = verify_set(made.name, full)
        told = {(finding.kind, finding.path.partition("/")[0], finding.versions) for finding in found.findings if finding.is_damage}
        assert ("unfinished", "items", (3,)) in told
        assert {kind for kind, _, _ in told} == {"unfinished"}
    assert any("store repair" in way for way in ways_out(made.name, found))
    repair = repair_set(made.name)
    assert (repair.left.sound, made.open().rows, made.open("1").rows) == (True, 9, 7)
    assert made.commit("one", {"a/1": 1}).version == 4
    if by != "key":
        assert traces(made.name.root, [made.embedding(8).tobytes()], ["a/8"]) == []


@pytest.mark.slow
def test_files_of_a_backup_that_no_version_lists_are_taken_out_too(made: MadeSet, tmp_path: Path) -> None:
    restore(made, tmp_path, "image")
    repair_set(made.name)
    for kind in ("items", "shards"):
        shutil.copytree(tmp_path / "backup" / kind, Path(str(made.folder)) / kind, dirs_exist_ok=True)
    assert made.open().rows == 9
    found = [finding for finding in verify_set(made.name, full=False).findings if finding.is_damage]
    assert {(finding.kind, finding.path.partition("/")[0], finding.versions) for finding in found} == {
        ("unfinished", "items", ()), ("unfinished", "shards", ()),
    }  # fmt: skip
    assert repair_set(made.name).left.sound
    assert traces(made.name.root, [made.embedding(8).tobytes()], ["a/8"]) == []


def test_a_file_that_is_back_with_good_reason_is_read(made: MadeSet) -> None:
    """Another key brings the bytes of a shard that left with a taken-down one."""
    made.commit("two", {"lonely": 55})
    take_down(made.name.root, made.name, Request(keys=("lonely",)), do_it=True)
    made.commit("two", {"other": 55})
    assert {*read_tombstones(made.name).gone} & {entry.path for entry in made.open().manifest.shards}
    assert made.open().by_key(["other"]).embeddings.tobytes() == made.embedding(55).tobytes()
    assert verify_set(made.name, full=True).sound


def test_while_a_takedown_is_at_work_readers_see_what_was_before(made: MadeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    monkeypatch.setattr("storage.takedown_set.leave_record", lambda *given: (leave_record(*given), rows.append(made.open().rows)))
    take_down(made.name.root, None, Request(images=(made.digest(8).hex(),)), do_it=True)
    assert {*rows} <= {10, 9}
    assert rows[0] == 10
    assert made.open().rows == 9


def test_readers_go_on_where_a_tombstone_cannot_be_read(made: MadeSet) -> None:
    take_down(made.name.root, None, Request(images=(made.digest(8).hex(),)), do_it=True)
    for path in (Path(str(made.name.root)) / "takedowns").glob("*.json"):
        path.write_bytes(b"x")
    assert made.open().rows == 9


def test_whoever_writes_on_top_is_told_and_has_it_taken_out(made: MadeSet, tmp_path: Path) -> None:
    restore(made, tmp_path, "image")
    draft = made.draft("two", {"b/0": 20})
    with pytest.raises(DamagedError, match=SAID.format(3)):
        open_newest(made.name)
    with pytest.raises(ConflictError, match="were taken down"):
        commit(made.name, None, replace(draft, corpora={"three": draft.corpora["two"]}), "three")
    assert storage.open(made.uri).rows == 9


@pytest.mark.parametrize("by", BY)
def test_what_had_expired_before_the_takedown_is_found_though_no_record_names_it(made: MadeSet, tmp_path: Path, by: str) -> None:
    """Readers know images that were taken down, and full verification keys, too."""
    backup = shutil.copytree(Path(str(made.folder)), tmp_path / "backup")
    made.commit("one", {"a/0": 0, "a/8": 77})
    expire_versions(made.name, 1, None, remove_them=True)
    collect_garbage(made.name, delete=True, grace_seconds=-1)
    request = Request(keys=("a/8",)) if by == "key" else Request(images=(made.digest(8).hex(),))
    take_down(made.name.root, None if by == "image" else made.name, request, do_it=True)
    assert verify_set(made.name, full=True).sound
    shutil.copytree(backup, Path(str(made.folder)), dirs_exist_ok=True)
    for full in (True, False) if by != "key" else (True,):
        found = [finding for finding in verify_set(made.name, full).findings if finding.is_damage]
        assert ("unfinished", "items", (3,)) in {(each.kind, each.path.partition("/")[0], each.versions) for each in found}
    if by != "key":
        with pytest.raises(DamagedError, match=SAID.format(3)):
            made.open("3")
    repair = repair_set(made.name)
    assert (repair.left.sound, made.open("3").rows) == (True, 9)
    assert {each.path for each in found} <= {*repair.taken_out}


def test_a_set_from_a_store_that_knew_of_no_takedown_is_not_read(made: MadeSet, tmp_path: Path) -> None:
    other = shutil.copytree(Path(str(made.folder)), tmp_path / "other")
    take_down(made.name.root, None, Request(images=(made.digest(8).hex(),)), do_it=True)
    laid = SetName(made.name.root, "team", "laid")
    shutil.copytree(other, Path(str(laid.folder)))
    assert storage.open(replace(laid, at="1")).rows == 7
    with pytest.raises(DamagedError, match=SAID.format(3).replace("team/set", "team/laid")):
        storage.open(laid)
    assert not verify_set(laid, full=False).sound
    assert repair_set(laid).left.sound
    assert (storage.open(laid).rows, made.open().rows) == (9, 9)
