"""A copy is the set: same bytes, same numbers; sent once, checked, and never half."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import storage
from scripts.damaged_sets import files_of, fill
from scripts.made_set import MadeSet
from scripts.s3_server import new_bucket
from storage.commit import commit
from storage.errors import ConflictError, DamagedError, DiskFullError, NotFoundError, UsageError
from storage.files import read_bytes
from storage.names import SetName
from storage.place import Place
from storage.repair import repair_set
from storage.store import init_store
from storage.transfer import copy_set
from storage.verify import verify_set
from storage.versions import list_tags, list_versions

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]


@pytest.fixture
def made(make_set: Callable[..., MadeSet]) -> MadeSet:
    return fill(make_set())


@pytest.fixture(params=["disk", "bucket"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "disk":
        return tmp_path / "copies"
    place = new_bucket(request.getfixturevalue("server"))
    init_store(place)
    return place


def at(root: Any, made: MadeSet) -> SetName:
    return replace(made.name, root=root, name="copy")


@pytest.mark.parametrize("limit", [10, 500], ids=["for the store", "for a file"])
def test_a_full_disk_is_told_with_its_folder(made: MadeSet, tmp_path: Path, limit: int) -> None:
    target = at(tmp_path / "copies", made)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))  # a bound on files is a full disk for each of them
    try:
        with pytest.raises(DiskFullError, match=f"no room is left to write in {target.folder}"):
            copy_set(made.name, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert copy_set(made.name, target).new_versions == (1, 2, 3)


def test_all_versions_and_tags_are_copied(made: MadeSet, root: Place) -> None:
    target = at(root, made)
    done = copy_set(made.name, target)
    assert (done.versions, done.new_versions, done.tags, done.skipped) == ((1, 2, 3), (1, 2, 3), ("prod",), 0)
    assert verify_set(target, full=True).findings == ()
    for version in (1, 2, 3):
        keys, embeddings = storage.open(f"{target}@{version}").to_numpy()
        expected_keys, expected = made.open(str(version)).to_numpy()
        assert keys == expected_keys
        np.testing.assert_array_equal(embeddings, expected)
    assert [(tag.name, tag.version) for tag in list_tags(target)] == [("prod", 2)]


@pytest.mark.parametrize("lost", ["versions/00000002.json", "versions/00000003.json", "tags/prod.json"])
def test_what_is_lost_is_not_absent_on_purpose_in_the_copy(made: MadeSet, lost: str, tmp_path: Path) -> None:
    sound = shutil.copytree(made.name.root, tmp_path / "sound")
    (Path(made.folder) / lost).unlink()
    target = at(tmp_path / "copies", made)
    told = {lost, "tags/prod.json"} if lost == "versions/00000002.json" else {lost}  # which means it
    assert {*copy_set(made.name, target).lost} == told
    assert {finding.path for finding in verify_set(target, full=True).findings if finding.is_damage} == told
    assert copy_set(replace(made.name, at="1"), target).lost == ()
    repair_set(made.name, [sound])
    assert copy_set(made.name, target).lost == ()
    assert verify_set(target, full=True).findings == ()


def test_a_copy_that_has_what_the_set_has_lost_keeps_it(made: MadeSet, tmp_path: Path) -> None:
    target = at(tmp_path / "copies", made)
    copy_set(made.name, target)
    (Path(made.folder) / "versions/00000003.json").unlink()
    assert copy_set(made.name, target).lost == ("versions/00000003.json",)
    assert verify_set(target, full=True).findings == ()


def test_a_copy_takes_what_is_new_and_sends_nothing_twice(made: MadeSet, root: Place) -> None:
    target = at(root, made)
    first = copy_set(made.name, target)
    again = copy_set(made.name, target)
    assert (again.copied, again.skipped, again.new_versions, again.bytes) == (0, first.copied, (), 0)
    made.commit("three", {"c": 99})
    later = copy_set(made.name, target)
    assert (later.copied, later.new_versions) == (2, (4,))  # a shard and an item file


def test_one_version_or_tag_is_copied_with_its_number(made: MadeSet, root: Place) -> None:
    target = at(root, made)
    done = copy_set(replace(made.name, at="prod"), target)
    assert (done.versions, done.tags) == ((2,), ("prod",))
    assert list_versions(target.folder) == [2]
    assert storage.open(f"{target}@prod").version == 2
    assert verify_set(target, full=True).sound, "a version that was not copied is no damage"
    copy_set(replace(made.name, at="3"), target)
    assert list_versions(target.folder) == [2, 3]
    copy_set(made.name, target)
    assert verify_set(target, full=True).findings == ()


def test_a_copy_that_was_cut_off_goes_on(made: MadeSet, root: Place) -> None:
    target = at(root, made)

    def cut(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_set(made.name, target, cut)
    with pytest.raises(NotFoundError):
        storage.open(str(target))
    done = copy_set(made.name, target)
    assert done.skipped >= 3
    assert verify_set(target, full=True).findings == ()


def test_a_damaged_file_is_not_copied_and_no_version_with_it(made: MadeSet, root: Place) -> None:
    shard = next(path for path in files_of(made) if "shards" in path.parts)
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError, match="is damaged, and was not copied"):
        copy_set(made.name, at(root, made))
    shard.unlink()
    with pytest.raises(DamagedError, match="is listed but is not there"):
        copy_set(made.name, at(root, made))
    with pytest.raises(NotFoundError):
        storage.open(str(at(root, made)))


def test_another_set_of_that_name_is_left_alone(made: MadeSet, make_set: Callable[..., MadeSet]) -> None:
    other = fill(make_set(pooling="max"))
    with pytest.raises(ConflictError, match="is another set"):
        copy_set(made.name, other.name)


def test_a_copy_that_has_gone_on_by_itself_is_left_alone(made: MadeSet, tmp_path: Path) -> None:
    copy = replace(made, name=replace(made.name, root=shutil.copytree(made.name.root, tmp_path / "copy")))
    copy.commit("mine", {"m": 1})
    with pytest.raises(ConflictError, match="has gone on by itself: it has version 4"):
        copy_set(made.name, copy.name)
    made.commit("theirs", {"t": 2})
    before = read_bytes(copy.folder / "versions" / "00000004.json")
    with pytest.raises(ConflictError, match="its version 4 is another one"):
        copy_set(made.name, copy.name)
    assert read_bytes(copy.folder / "versions" / "00000004.json") == before


@pytest.mark.parametrize("target", ["same", "versioned"])
def test_what_cannot_be_meant_is_refused(made: MadeSet, target: str) -> None:
    name = made.name if target == "same" else replace(made.name, name="copy", at="3")
    with pytest.raises(UsageError, match=r"is the set itself|versions keep their numbers"):
        copy_set(made.name, name)


@pytest.mark.parametrize("landed", [False, True])
def test_a_copy_that_dies_at_its_manifest_leaves_no_gap_that_looks_like_damage(
    made: MadeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, landed: bool
) -> None:
    """Of version 2 alone, of three: that version 1 is not there is on purpose."""
    target, real_link = at(tmp_path, made), os.link

    def link(source: Path, path: Path) -> None:
        if landed or path.name != "00000002.json":
            real_link(source, path)
        if path.name == "00000002.json":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        with pytest.raises(KeyboardInterrupt):
            copy_set(replace(made.name, at="2"), target)
    assert list_versions(target.folder) == ([2] if landed else [])
    assert verify_set(target, full=True).sound
    if not landed:
        with pytest.raises(ConflictError, match=r"version 2 of .* should be there and is not: .* after a copy that was cut off"):
            commit(target, None, made.open("1").manifest, "one")
    copy_set(replace(made.name, at="2"), target)
    assert list_versions(target.folder) == [2]
