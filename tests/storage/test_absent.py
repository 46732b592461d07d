"""Versions that leave are told from versions that are lost, whoever lets them leave, and come, at the same time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.damaged_sets import fill
from scripts.made_set import MadeSet
from storage.absent import LIST, absent_among, absent_versions, is_absent, mark_absent, marker, unmark_present
from storage.commit import create_set
from storage.disk import Disk
from storage.errors import ConflictError, NotFoundError
from storage.expected_versions import missing_versions
from storage.expire import expire_versions
from storage.files import list_names, remove
from storage.removal import remove_set
from storage.repair import repair_set
from storage.sealed import seal
from storage.tags import remove_tag
from storage.transfer import copy_set
from storage.verify import verify_set
from storage.versions import version_path


@pytest.fixture
def made(make_set: Callable[..., MadeSet]) -> MadeSet:
    """Versions 1 to 3, without tags."""
    made = fill(make_set())
    remove_tag(made.name, "prod")
    return made


def is_accounted_for(made: MadeSet) -> bool:
    return missing_versions(made.name) == {} and verify_set(made.name, full=False).sound


def test_a_version_has_a_marker_that_may_be_left_twice(made: MadeSet) -> None:
    expire_versions(made.name, 1, None, remove_them=True)
    before = {path: path.read_bytes() for path in (Path(made.folder) / "absent").iterdir()}
    assert sorted(path.name for path in before) == ["00000001.json", "00000002.json"]
    mark_absent(made.name, [1, 2])
    assert {path: path.read_bytes() for path in before} == before
    assert (absent_versions(made.name), is_absent(made.name, 2), is_absent(made.name, 3)) == ({1, 2}, True, False)


def test_a_version_that_is_there_counts_as_there_and_is_missed_when_it_is_lost(made: MadeSet) -> None:
    mark_absent(made.name, [1, 2])
    assert is_accounted_for(made)
    unmark_present(made.name)
    assert absent_versions(made.name) == set()
    remove(version_path(made.folder, 1))
    assert list(missing_versions(made.name)) == [1]


def test_the_list_of_a_store_that_was_made_before_is_read_and_taken_over(made: MadeSet) -> None:
    remove(version_path(made.folder, 1))
    (Path(made.folder) / LIST).write_bytes(seal({"versions": [1]}))
    assert (absent_versions(made.name), is_absent(made.name, 1), absent_among(made.name, [1, 2])) == ({1}, True, {1})
    assert is_accounted_for(made)
    with pytest.raises(NotFoundError, match="no version 1 any more"):
        made.open("1")
    assert made.commit("one", {"a": 1}).version == 4
    expire_versions(made.name, 2, None, remove_them=True)
    assert (list_names(made.folder / "absent"), (Path(made.folder) / LIST).exists()) == (["00000001.json", "00000002.json"], False)
    assert verify_set(made.name, full=True).sound


def test_a_listing_that_is_behind_loses_no_version(made: MadeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    expire_versions(made.name, 1, None, remove_them=True)
    monkeypatch.setattr("storage.absent.list_names", lambda _: [])
    assert (missing_versions(made.name), absent_among(made.name, [1, 3])) == ({}, {1})
    with pytest.raises(NotFoundError, match="no version 2 any more"):
        made.open("2")


@pytest.mark.parametrize("harm", [b"x", seal({"version": 7}), b""])
def test_a_marker_that_is_damaged_is_found_and_made_again(made: MadeSet, harm: bytes) -> None:
    expire_versions(made.name, 1, None, remove_them=True)
    path = marker(made.name, 2)
    assert isinstance(path, Path)
    path.write_bytes(harm)
    assert [(finding.kind, finding.path) for finding in verify_set(made.name, full=True).findings if finding.is_damage] == [
        ("damaged", "absent/00000002.json")
    ]
    assert made.open().version == 3
    assert repair_set(made.name).mended == (("absent/00000002.json", "the set itself"),)
    assert is_accounted_for(made)


def test_a_marker_that_is_lost_is_made_again_from_the_hint_and_from_no_copy(made: MadeSet, tmp_path: Path) -> None:
    copy_set(replace(made.name, at="3"), replace(made.name, root=tmp_path / "partial"))
    expire_versions(made.name, 1, None, remove_them=True)
    hint = Path(made.folder) / "hint.json"
    before = hint.read_bytes()
    for harm in (b"x", before):
        remove(marker(made.name, 2))
        hint.write_bytes(harm)
        for _ in range(2):  # once more, when the hint has come from the copy, in which version 2 is absent, too
            repair = repair_set(made.name, [tmp_path / "partial"])
        assert repair.left.sound == (harm == before)
        assert absent_versions(made.name) == ({1, 2} if harm == before else {1})
        mark_absent(made.name, [2])
    assert is_accounted_for(made)


def test_after_a_removal_that_was_cut_off_no_number_is_taken(made: MadeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    expire_versions(made.name, 1, None, remove_them=True)

    def die(place: Path) -> None:
        remove(place)
        if place.name == "set.json":
            raise KeyboardInterrupt

    monkeypatch.setattr("storage.removal.remove", die)
    with pytest.raises(KeyboardInterrupt):
        remove_set(made.name, remove_it=True)
    create_set(made.name, made.description)
    assert made.commit("one", {"a": 1}).version == 1


@contextmanager
def other_at(step: int, act: Callable[[], None]) -> Iterator[list[str]]:
    """Lets `act` happen before write number `step` of a store on a disk; yields the writes."""
    writes: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("create", "replace", "upload", "remove"):
            real = getattr(Disk, kind)

            def write(self: Disk, *given: object, real: Callable[..., None] = real, kind: str = kind) -> None:
                writes.append(kind)
                if len(writes) == step + 1:
                    act()
                real(self, *given)

            patch.setattr(Disk, kind, write)
        yield writes


OPERATIONS = {
    "expire": lambda name, source: expire_versions(name, 1, None, remove_them=True),
    "expire one": lambda name, source: expire_versions(name, 2, None, remove_them=True),
    "copy": lambda name, source: copy_set(source, name),
    "copy one": lambda name, source: copy_set(replace(source, at="2"), name),
}


@pytest.mark.slow
@pytest.mark.parametrize("one", OPERATIONS)
@pytest.mark.parametrize("other", ["expire", "copy"])
def test_whoever_comes_in_between_loses_no_entry(made: MadeSet, tmp_path: Path, one: str, other: str) -> None:
    """A copy of versions 1 and 3 is expired and copied again, the other operation coming before any of the writes of the one."""
    start = replace(made, name=replace(made.name, root=tmp_path / "start"))
    copy_set(replace(made.name, at="1"), start.name)
    copy_set(replace(made.name, at="3"), start.name)
    for step in range(100):
        target = replace(made, name=replace(made.name, root=shutil.copytree(tmp_path / "start", tmp_path / str(step))))

        def run(operation: str, target: MadeSet = target) -> None:
            with suppress(ConflictError, NotFoundError):  # which is said, and leaves all as it is
                OPERATIONS[operation](target.name, made.name)

        with other_at(step, lambda run=run: run(other)) as writes:  # type: ignore[misc]
            run(one)
        assert is_accounted_for(target), step
        if len(writes) <= step:
            return
    raise AssertionError("it never ends")
