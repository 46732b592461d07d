"""No other version is taken for one that is lost or has left; where the newest is lost, the one before it is read, and that is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scripts.damaged_sets import fill
from scripts.made_set import MadeSet
from storage.catalog import list_manifests, list_sets
from storage.errors import DamagedError, NotFoundError
from storage.expire import expire_versions
from storage.sealed import seal
from storage.tags import move_tag, remove_tag
from storage.takedown import Request, take_down
from storage.versions import read_manifest, version_path

LOST = r"version {} of .* is lost: .*--from ROOT.*--give-up"


@pytest.fixture
def made(make_set: Callable[..., MadeSet]) -> MadeSet:
    """Versions 1 to 3, of 1, 2 and 3 November; prod is 2."""
    made = fill(make_set())
    for version in (1, 2, 3):
        created = datetime(2026, 11, version, 12, tzinfo=UTC).isoformat(timespec="seconds")
        version_path(made.folder, version).write_bytes(seal(replace(read_manifest(made.folder, version), created=created).to_dict()))
    return made


def lose(made: MadeSet, *versions: int) -> None:
    for version in versions:
        (Path(made.folder) / "versions" / f"{version:08d}.json").unlink()


def test_a_lost_newest_version_is_noted_by_who_reads_the_one_before(made: MadeSet, caplog: pytest.LogCaptureFixture) -> None:
    made.open()
    assert caplog.text == ""
    lose(made, 3)
    for read in (lambda: made.open().version, lambda: move_tag(made.name, "new").version, lambda: list_manifests(made.uri)[-1].version):
        caplog.clear()
        assert read() == 2
        assert "version 3 of" in caplog.text
        assert "is lost" in caplog.text
    assert [each.lost for each in list_sets(made.name.root)] == [(3,)]
    with pytest.raises(DamagedError, match=LOST.format(3)):
        made.open("3")
    with pytest.raises(NotFoundError, match="has no version 4; it has versions 1 to 2"):
        made.open("4")


def test_a_gap_is_noted_as_well(made: MadeSet, caplog: pytest.LogCaptureFixture) -> None:
    lose(made, 2)
    assert made.open().version == 3
    assert "version 2 of" in caplog.text
    with pytest.raises(DamagedError, match=LOST.format(2)):
        made.open("prod")


def test_of_versions_that_have_left_nobody_is_told(made: MadeSet, caplog: pytest.LogCaptureFixture) -> None:
    remove_tag(made.name, "prod")
    hint = (Path(made.folder) / "hint.json").read_bytes()
    expire_versions(made.name, 1, None, remove_them=True)
    for harm in (lambda: None, lambda: (Path(made.folder) / "hint.json").write_bytes(hint), (Path(made.folder) / "hint.json").unlink):
        harm()
        assert (made.open().version, caplog.text) == (3, "")
    with pytest.raises(NotFoundError, match="has no version 2 any more, or it was not copied here; it has version 3"):
        made.open("2")


def test_a_lost_tag_is_told_from_one_that_never_was(made: MadeSet) -> None:
    (Path(made.folder) / "tags" / "prod.json").unlink()
    with pytest.raises(DamagedError, match=r"the tag 'prod' of .* is lost"):
        made.open("prod")
    with pytest.raises(NotFoundError, match="has no tag 'other'"):
        made.open("other")


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_day_of_a_lost_version_means_no_other(made: MadeSet, lost: int) -> None:
    lose(made, lost)
    with pytest.raises(DamagedError, match=rf"at 2026-11-0{lost}: version {lost} may have been the newest then, and is not there"):
        made.open(f"2026-11-0{lost}")
    assert [made.open(f"2026-11-0{day}").version for day in (1, 2, 3) if day not in (lost, lost - 1)] == [
        version for version in (1, 2, 3) if version not in (lost, lost - 1)
    ]


def test_a_day_of_an_expired_version_means_no_other(made: MadeSet) -> None:
    move_tag(replace(made.name, at="1"), "prod")
    expire_versions(made.name, 1, None, remove_them=True)
    with pytest.raises(NotFoundError, match=r"version 2 may have been the newest then, and has expired.*; version 1 came before"):
        made.open("2026-11-02")
    assert made.open("2026-11-03").version == 3
    remove_tag(made.name, "prod")
    expire_versions(made.name, 1, None, remove_them=True)
    with pytest.raises(NotFoundError, match=r"one of versions 1 to 2 may have been the newest then, and has expired"):
        made.open("2026-10-01")


def test_a_takedown_says_that_a_lost_version_was_out_of_its_reach(made: MadeSet) -> None:
    lose(made, 3)
    [told] = take_down(made.name.root, made.name, Request(keys=("a/4",)), do_it=True).unreached
    assert told.startswith("version 3 of team/set is lost: ")
