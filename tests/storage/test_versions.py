"""Which version a name means: by number, tag, day or time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scripts.made_set import MadeSet
from storage.catalog import list_manifests
from storage.commit import commit
from storage.errors import DamagedError, NotFoundError, UsageError
from storage.expected_versions import Hint
from storage.expire import expire_versions
from storage.feature_set import open_set
from storage.hints import leave_hints
from storage.repair import repair_set
from storage.sealed import seal
from storage.tags import move_tag, remove_tag
from storage.verify import verify_set
from storage.versions import list_tags, read_manifest, read_tag, tag_names, tag_place, version_path

MakeSet = Callable[..., MadeSet]

DAYS = (datetime(2026, 11, 20, 9, 30, tzinfo=UTC), datetime(2026, 11, 24, 12, tzinfo=UTC), datetime(2026, 11, 24, 23, 59, tzinfo=UTC))


@pytest.fixture
def made(make_set: MakeSet) -> MadeSet:
    """Three versions, of DAYS."""
    made = make_set()
    for version, day in enumerate(DAYS, start=1):
        made.commit("photos", {"a": version})
        manifest = replace(read_manifest(made.folder, version), created=day.isoformat(timespec="seconds"))
        version_path(made.folder, version).write_bytes(seal(manifest.to_dict()))
    return made


@pytest.mark.parametrize(
    ("at", "version"),
    [
        (None, 3), ("1", 1), ("0002", 2), ("2026-11-20", 1), ("2026-11-23", 1), ("2026-11-24", 3), ("2026-11-24T12:00", 2),
        ("20261124T120000Z", 2), ("20261124T115959Z", 1), ("2026-11-24T13:30+02:00", 1), ("2030-01-01", 3),
    ],
)  # fmt: skip
def test_a_number_day_or_time_means_a_version(made: MadeSet, at: str | None, version: int) -> None:
    assert made.open(at).version == version
    assert open_set(f"{made.name}@{at}" if at else str(made.name)).version == version


def dated(made: MadeSet, corpus: str, created: str) -> str:
    """When a version was committed whose writer's clock says `created`."""
    base = made.open().manifest
    return commit(made.name, base, replace(made.draft(corpus, {"a": 7}), created=created), corpus).created


def test_a_clock_that_is_behind_dates_no_version_before_the_one_that_it_follows(made: MadeSet, caplog: pytest.LogCaptureFixture) -> None:
    assert dated(made, "late", "2001-01-01T00:00:00+00:00") == "2026-11-24T23:59:00.000001+00:00"
    assert "the clock here says 2001-01-01T00:00:00+00:00: one of the two clocks is wrong" in caplog.text
    caplog.clear()
    assert dated(made, "same second", "2026-11-24T23:59:00+00:00") == "2026-11-24T23:59:00.000002+00:00"
    assert dated(made, "right", "2026-11-25T00:00:00+00:00") == "2026-11-25T00:00:00+00:00"
    assert caplog.text == ""
    for at, version in (("2001-01-02", None), ("2026-11-20", 1), ("2026-11-24T23:59", 3), ("2026-11-24", 5), ("2026-11-25", 6)):
        if version:
            assert made.open(at).version == version
        else:
            with pytest.raises(NotFoundError, match="had no version"):
                made.open(at)
    for manifest in list_manifests(made.uri):
        assert made.open(manifest.created).version == manifest.version


def test_versions_of_before_times_were_put_in_order_count_from_those_that_they_follow(made: MadeSet) -> None:
    """Version 2 by a clock that was behind: it came after version 1."""
    manifest = replace(read_manifest(made.folder, 2), created="2001-01-01T00:00:00+00:00")
    version_path(made.folder, 2).write_bytes(seal(manifest.to_dict()))
    with pytest.raises(NotFoundError, match="had no version at 2026-11-19 yet; version 1 is of 2026-11-20"):
        made.open("2026-11-19")
    assert [made.open(at).version for at in ("2026-11-20T09:30", "2026-11-24T23:58", "2026-11-24")] == [2, 2, 3]
    for hour, leaving in ((9, ()), (10, (1, 2))):
        assert expire_versions(made.name, None, datetime(2026, 11, 20, hour, tzinfo=UTC), remove_them=False).leaving == leaving


def test_a_damaged_version_spoils_the_times_of_no_other(made: MadeSet) -> None:
    version_path(made.folder, 2).write_bytes(b"x")
    assert [made.open(at).version for at in ("2026-11-24",)] == [3]
    with pytest.raises(DamagedError, match=r"00000002\.json"):
        made.open("2026-11-20")


@pytest.mark.parametrize("at", ["2026-11-19", "20261120T092959Z"])
def test_before_the_first_version_there_was_none(made: MadeSet, at: str) -> None:
    with pytest.raises(NotFoundError, match=r"had no version at .* yet; version 1 is of 2026-11-20"):
        made.open(at)


def test_a_tag_moves_and_is_listed(made: MadeSet) -> None:
    assert move_tag(replace(made.name, at="1"), "prod").version == 1
    assert made.open("prod").version == 1
    moved = move_tag(replace(made.name, at="2026-11-24"), "prod")
    assert move_tag(made.name, "newest").version == 3
    assert read_tag(made.name, "prod") == moved
    assert [(tag.name, tag.version) for tag in list_tags(made.name)] == [("newest", 3), ("prod", 3)]
    assert datetime.now(UTC) - datetime.fromisoformat(moved.moved) < timedelta(minutes=1)
    move_tag(replace(made.name, at="prod"), "twin")
    remove_tag(made.name, "prod")
    assert made.open("twin").version == 3
    with pytest.raises(NotFoundError, match="no tag 'prod'; its tags: newest, twin"):
        made.open("prod")
    with pytest.raises(NotFoundError):
        remove_tag(made.name, "prod")


@pytest.mark.parametrize("tag", ["7", "2026-11-24", "20261124T120000Z", "2026-13-45", "20261345-x"])
def test_a_tag_that_would_be_taken_for_something_else_is_refused(made: MadeSet, tag: str) -> None:
    with pytest.raises(UsageError, match="would be taken for"):
        move_tag(made.name, tag)


@pytest.mark.parametrize("tag", ["../x", "", "a b", ".x"])
def test_a_tag_is_a_safe_name(made: MadeSet, tag: str) -> None:
    with pytest.raises(UsageError, match="not a usable name"):
        move_tag(made.name, tag)


def test_a_tag_of_a_version_that_is_not_there_is_refused(made: MadeSet) -> None:
    with pytest.raises(NotFoundError, match="no version 9"):
        move_tag(replace(made.name, at="9"), "prod")


def test_a_tag_changed_by_hand_is_refused(made: MadeSet) -> None:
    move_tag(made.name, "prod")
    path = made.folder / "tags" / "prod.json"
    path.write_bytes(path.read_bytes().replace(b"3", b"2", 1))
    with pytest.raises(DamagedError, match=r"the tag .* is damaged, or was changed by hand"):
        made.open("prod")


@pytest.mark.slow
def test_a_reader_of_a_moving_tag_finds_one_of_its_versions(made: MadeSet) -> None:
    move_tag(replace(made.name, at="1"), "prod")
    done = threading.Event()

    def move_all() -> None:
        for number in range(60):
            move_tag(replace(made.name, at=str(1 + number % 3)), "prod")
        done.set()

    with ThreadPoolExecutor(1) as pool:
        moving = pool.submit(move_all)
        while not done.is_set():
            assert made.open("prod").version in (1, 2, 3)
        moving.result()


def test_a_folder_among_the_tags_is_none(make_set: MakeSet) -> None:
    """Nothing ends with it; files in it are named, and a hint that tells of it lets go."""
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    move_tag(replace(made.name, at="1"), "prod")
    folder = Path(str(made.folder), "tags", "dir.json")
    folder.mkdir()
    assert tag_names(made.name) == ["prod"]
    assert verify_set(made.name, full=True).findings == ()
    assert expire_versions(made.name, 1, None, remove_them=True).leaving == ()
    with pytest.raises(NotFoundError, match="no tag 'dir'; its tags: prod"):
        open_set(replace(made.name, at="dir"))
    (folder / "file").write_text("")
    assert [(each.kind, each.path) for each in verify_set(made.name, full=True).findings] == [("unlisted", "tags/dir.json")]
    leave_hints(made.name, told=Hint(tags=("dir",)))  # as older programs did
    assert not verify_set(made.name, full=True).sound
    remove_tag(made.name, "dir")
    assert (verify_set(made.name, full=True).sound, folder.is_dir()) == (True, True)


def test_a_tag_that_names_no_number_is_given_up(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("one", {"a": 1})
    move_tag(replace(made.name, at="1"), "prod")
    tag_place(made.name, "prod").write_bytes(seal({"version": "1", "moved": ""}))
    assert not verify_set(made.name, full=True).sound
    repair = repair_set(made.name, give_up=True)
    assert (repair.given_up, repair.left.sound) == (("tags/prod.json",), True)
