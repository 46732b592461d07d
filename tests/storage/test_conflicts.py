"""The tables of docs/store.md, "Several writers": a case for each cell, with the other writer at work right before the border.

The border is what makes an operation count: creating the manifest, replacing the tag, removing a manifest or a file.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import storage.commit
import storage.expire
import storage.gc
import storage.tags
from scripts.made_set import MadeSet
from storage.changes import append, relabel, remove, replace
from storage.compact import compact_set
from storage.errors import ConflictError
from storage.expire import expire_versions
from storage.gc import collect_garbage
from storage.tags import move_tag
from storage.verify import verify_set
from storage.versions import list_tags, list_versions

pytestmark = pytest.mark.slow

PICTURES = {key: number for number, key in enumerate("abcdefgh")}
BORDERS = [(storage.commit, "create_exclusive"), (storage.tags, "write_atomic"), (storage.expire, "remove"), (storage.gc, "remove")]
GARBAGE = 77  # picture of a shard that nobody lists


@dataclass(frozen=True)
class Operation:
    """do: what one of two writers (0 or 1) does. is_done: whether the set shows it."""

    do: Callable[[MadeSet, int], Any]
    is_done: Callable[[MadeSet, int], bool]


def value(picture: int) -> Any:
    return np.full((1, 3), picture, np.float32)


def row(made: MadeSet, key: str, corpus: str = "one") -> dict[str, Any]:
    rows = made.open().items.to_pylist()
    return next((each for each in rows if (each["key"], each["corpus"]) == (key, corpus)), {})


def embedding(made: MadeSet, key: str) -> list[float]:
    keys, values = made.open().to_numpy()
    return list(values[keys.index(key)]) if key in keys else []


def is_compact(made: MadeSet, _: int) -> bool:
    """Of keys that nobody else touches."""
    return row(made, "d")["shard"] == row(made, "e")["shard"]


def tags(made: MadeSet) -> dict[str, int]:
    return {tag.name: tag.version for tag in list_tags(made.name)}


OPERATIONS = {
    "append": Operation(
        lambda made, i: append(made.uri, [f"n{i}"], value(20 + i), corpus="one"), lambda made, i: embedding(made, f"n{i}") == [20 + i] * 3
    ),
    "replace": Operation(
        lambda made, i: replace(made.uri, ["af"[i]], value(30 + i)), lambda made, i: embedding(made, "af"[i]) == [30 + i] * 3
    ),
    "remove": Operation(lambda made, i: remove(made.uri, ["bc"[i]]), lambda made, i: not row(made, "bc"[i])),
    "relabel": Operation(
        lambda made, i: relabel(made.uri, {"gh"[i]: f"new-{i}"}), lambda made, i: row(made, "gh"[i])["label"] == f"new-{i}"
    ),
    "mirror": Operation(
        lambda made, i: made.commit("one", {**PICTURES, f"m{i}": 40 + i}, per_shard=4), lambda made, i: bool(row(made, f"m{i}"))
    ),
    "mirror of another": Operation(
        lambda made, i: made.commit(f"other{i}", {"o": 50 + i}), lambda made, i: bool(row(made, "o", f"other{i}"))
    ),
    "compact": Operation(lambda made, i: compact_set(made.name, do_it=True), is_compact),
    "tag": Operation(lambda made, i: move_tag(replaced(made.name, at="2"), f"t{i}"), lambda made, i: tags(made).get(f"t{i}") == 2),
    "expire": Operation(
        lambda made, i: expire_versions(made.name, 1, None, remove_them=True), lambda made, i: 1 not in list_versions(made.folder)
    ),
    "gc": Operation(lambda made, i: collect_garbage(made.name, delete=True), lambda made, i: not garbage(made)),
}


def garbage(made: MadeSet) -> bool:
    listed = {entry.path for version in list_versions(made.folder) for entry in made.open(str(version)).manifest.files}
    return any(
        f"shards/{path.name}" not in listed and path.stat().st_mtime < time.time() - 86400 for path in Path(made.folder).glob("shards/*")
    )


def documented(heading: str, until: str) -> list[list[str]]:
    text = (Path(__file__).parents[2] / "docs" / "store.md").read_text().partition(heading)[2].partition(until)[0]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def cells() -> list[tuple[str, str, str]]:
    """(about to commit, committed meanwhile, outcome)"""
    head, _, *lines = documented("## Several writers", "Of the same key")
    return [(line[0], column, outcome) for line in lines for column, outcome in zip(head[1:], line[1:], strict=True)]


@pytest.fixture(scope="module")
def template(make_set: Callable[..., MadeSet]) -> MadeSet:
    """Versions 1 and 2, and a shard of a writer that died long ago."""
    made = make_set()
    made.commit("one", PICTURES, per_shard=4)
    made.commit("two", {"a2": 10})
    left = made.folder / made.write_shard([GARBAGE]).path
    os.utime(left, (time.time() - 10 * 86400,) * 2)
    return made


@pytest.fixture
def made(template: MadeSet, tmp_path: Path) -> MadeSet:
    shutil.copytree(template.name.root, tmp_path / "store")
    return replaced(template, name=replaced(template.name, root=tmp_path / "store"))


def run_with_rival(patch: pytest.MonkeyPatch, act: Callable[[], Any], rival: Callable[[], Any]) -> Any:
    """act, while the rival does all of his right before its border."""
    waiting = [rival]

    def border(real: Callable[..., Any]) -> Callable[..., Any]:
        def first_the_rival(*given: Any) -> Any:
            if waiting:
                waiting.pop()()
            return real(*given)

        return first_the_rival

    with patch.context() as patched:
        for module, name in BORDERS:
            patched.setattr(module, name, border(getattr(module, name)))
        result = act()
    assert not waiting, "the rival was there"
    return result


def require_sound(made: MadeSet) -> None:
    assert verify_set(made.name, full=True).sound
    made.open().to_numpy()


@pytest.mark.parametrize(("later", "earlier", "outcome"), cells(), ids=lambda cell: cell.replace(" ", "-"))
def test_a_cell_of_the_table(made: MadeSet, monkeypatch: pytest.MonkeyPatch, later: str, earlier: str, outcome: str) -> None:
    one, other = OPERATIONS[earlier], OPERATIONS[later]

    def act() -> Any:
        return run_with_rival(monkeypatch, lambda: other.do(made, 1), lambda: one.do(made, 0))

    if outcome == "conflict":
        with pytest.raises(ConflictError):
            act()
    else:
        act()
    assert one.is_done(made, 0)
    assert other.is_done(made, 1) == (outcome == "both")
    require_sound(made)


def mirror_without(made: MadeSet, key: str) -> Any:
    return made.commit("one", {name: picture for name, picture in PICTURES.items() if name != key}, per_shard=4)


SAME = {
    ("append", "the same append"): (lambda m: append(m.uri, ["n"], value(1)), lambda m: append(m.uri, ["n"], value(1))),
    ("append", "append of another image"): (lambda m: append(m.uri, ["n"], value(1)), lambda m: append(m.uri, ["n"], value(2))),
    ("append", "mirror with the key"): (
        lambda m: append(m.uri, ["n"], value(1), corpus="one"),
        lambda m: m.commit("one", {**PICTURES, "n": 60}, per_shard=4),
    ),
    ("replace", "the same replace"): (lambda m: replace(m.uri, ["a"], value(1)), lambda m: replace(m.uri, ["a"], value(1))),
    ("replace", "replace by another image"): (lambda m: replace(m.uri, ["a"], value(1)), lambda m: replace(m.uri, ["a"], value(2))),
    ("replace", "replace by another embedding of the same image"): (
        lambda m: replace(m.uri, ["a"], value(1), digest=[b"i" * 32]),
        lambda m: replace(m.uri, ["a"], value(2), digest=[b"i" * 32]),
    ),
    ("replace", "remove"): (lambda m: replace(m.uri, ["a"], value(1)), lambda m: remove(m.uri, ["a"])),
    ("replace", "relabel"): (lambda m: replace(m.uri, ["a"], value(1)), lambda m: relabel(m.uri, {"a": "x"})),
    ("replace", "mirror without the key"): (lambda m: replace(m.uri, ["a"], value(1)), lambda m: mirror_without(m, "a")),
    ("remove", "remove"): (lambda m: remove(m.uri, ["a"]), lambda m: remove(m.uri, ["a"])),
    ("remove", "replace"): (lambda m: remove(m.uri, ["a"]), lambda m: replace(m.uri, ["a"], value(1))),
    ("remove", "relabel"): (lambda m: remove(m.uri, ["a"]), lambda m: relabel(m.uri, {"a": "x"})),
    ("remove", "mirror without the key"): (lambda m: remove(m.uri, ["a"]), lambda m: mirror_without(m, "a")),
    ("relabel", "the same relabel"): (lambda m: relabel(m.uri, {"a": "x"}), lambda m: relabel(m.uri, {"a": "x"})),
    ("relabel", "another relabel"): (lambda m: relabel(m.uri, {"a": "x"}), lambda m: relabel(m.uri, {"a": "y"})),
    ("relabel", "replace"): (lambda m: relabel(m.uri, {"a": "x"}), lambda m: replace(m.uri, ["a"], value(1))),
    ("relabel", "remove"): (lambda m: relabel(m.uri, {"a": "x"}), lambda m: remove(m.uri, ["a"])),
    ("relabel", "mirror without the key"): (lambda m: relabel(m.uri, {"a": "x"}), lambda m: mirror_without(m, "a")),
    ("tag", "expire of its version"): (
        lambda m: move_tag(replaced(m.name, at="1"), "old"),
        lambda m: expire_versions(m.name, 1, None, remove_them=True),
    ),
    ("expire", "tag of its version"): (
        lambda m: expire_versions(m.name, 1, None, remove_them=True),
        lambda m: move_tag(replaced(m.name, at="1"), "old"),
    ),
}


def test_the_second_table_has_a_case_for_each_line() -> None:
    assert {(line[0], line[1]) for line in documented("Of the same key", "`tests/")[2:]} == set(SAME)


@pytest.mark.parametrize(("later", "earlier", "outcome"), documented("Of the same key", "`tests/")[2:])
def test_of_the_same_key_or_version(made: MadeSet, monkeypatch: pytest.MonkeyPatch, later: str, earlier: str, outcome: str) -> None:
    act, rival = SAME[later, earlier]
    if outcome == "conflict":
        with pytest.raises(ConflictError):
            run_with_rival(monkeypatch, lambda: act(made), lambda: rival(made))
        assert tags(made) == {}
    else:
        run_with_rival(monkeypatch, lambda: act(made), lambda: rival(made))
    assert list_versions(made.folder) == ([2] if later == "tag" else [1, 2] if later == "expire" else [1, 2, 3])
    assert outcome != "the version stays" or made.open("old").version == 1
    require_sound(made)
