"""Hints tell of all that several writers have brought at once, though each of them replaces a whole file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.damaged_sets import fill
from scripts.made_set import MadeSet, new_set
from scripts.set_leaver import commit_first
from storage import hints
from storage.files import write_atomic
from storage.place import Place
from storage.sealed import read_sealed
from storage.tags import move_tag, remove_tag
from storage.takedown import Request, take_down
from storage.verify import verify_set
from tests.storage.deaths import FRESH


@pytest.fixture
def before_write(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], Any]], None]:
    """Lets something happen right before the next hint of this name is written."""

    def arrange(file: str, act: Callable[[], Any]) -> None:
        waiting = [act]

        def write(place: Place, data: bytes) -> None:
            if place.name == file and waiting:
                waiting.pop()()
            write_atomic(place, data)

        monkeypatch.setattr(hints, "write_atomic", write)

    return arrange


def catalog_of(made: MadeSet) -> dict[str, Any]:
    return read_sealed(made.name.root / "catalog.json", "catalog")


@pytest.mark.parametrize("is_first", [True, False], ids=["of the store", "of the set"])
def test_of_two_sets_that_begin_at_once_the_catalog_names_both(
    make_set: Callable[..., MadeSet], before_write: Callable[[str, Callable[[], Any]], None], is_first: bool
) -> None:
    older = make_set(name="older")
    if not is_first:
        older.commit("one", {"a": 1})
    made = make_set(root=older.name.root)

    def begin() -> None:
        new_set(replace(made.name, name="other"), made.description.space, "parquet").commit("one", {"a": 1})

    before_write("catalog.json", begin)
    made.commit("one", {"a": 1})
    assert {*catalog_of(made)["sets"]} == {"team/older", "team/set", "team/other"}


def test_what_is_taken_down_while_a_set_begins_is_told(
    make_set: Callable[..., MadeSet], before_write: Callable[[str, Callable[[], Any]], None]
) -> None:
    other = fill(make_set())
    made = make_set(root=other.name.root, name="new")
    before_write("catalog.json", lambda: take_down(other.name.root, None, Request(images=(other.digest(8).hex(),)), do_it=True))
    made.commit("one", {"a": 1})
    told = catalog_of(made)
    assert {*told["sets"]} == {"team/set", "team/new"}
    assert {*told["takedowns"]} == {path.name for path in (Path(made.name.root) / "takedowns").glob("*.json")}


def test_versions_and_tags_of_somebody_faster_are_told_and_a_tag_that_he_removed_is_not(
    make_set: Callable[..., MadeSet], before_write: Callable[[str, Callable[[], Any]], None]
) -> None:
    made = fill(make_set())

    def overtake() -> None:
        made.commit("two", {"z": 99})
        move_tag(made.name, "best")
        remove_tag(made.name, "prod")

    before_write("hint.json", overtake)
    made.commit("one", {"a": 77})
    hint = read_sealed(made.folder / "hint.json", "hint")
    assert (hint["newest"], hint["tags"]) == (5, ["best"])
    assert verify_set(made.name, full=False).sound


@pytest.mark.slow
def test_the_catalog_names_the_sets_of_all_processes_that_begin_at_once(make_set: Callable[..., MadeSet]) -> None:
    made, names = make_set(), [f"set-{number}" for number in range(4)]
    at_work = [FRESH.Process(target=commit_first, args=(str(made.name.root), name)) for name in names]
    for process in at_work:
        process.start()
    for process in at_work:
        process.join(120)
        assert process.exitcode == 0
    assert catalog_of(made)["sets"] == ["team/set", *(f"team/{name}" for name in names)]
