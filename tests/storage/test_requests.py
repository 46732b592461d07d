"""Whatever a program asks for that cannot be meant is told in words, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import storage
from scripts.made_set import MadeSet, new_set
from storage.changes import append, relabel, remove, replace
from storage.errors import UsageError
from storage.names import SetName
from storage.space import Space
from storage.version_diff import diff_versions
from storage.versions import list_versions

HALF = "half\ud800"
ONE = np.ones((1, 3), np.float32)
TWO = np.ones((2, 3), np.float32)
# What nobody can mean by several keys, digests or positions in an order.
NO_LIST: list[Any] = [
    None,
    5,
    1.5,
    True,
    "ab",
    b"ab",
    {"a", "b"},
    frozenset("a"),
    {"a": 1},
    object(),
    [None],
    [["a"]],
    [object()],
    [1.5],
    [b"a"],
]
NO_TEXT: list[Any] = [5, b"one", ["one"], object()]

READS: dict[str, tuple[Callable[[storage.FeatureSet, Any], Any], list[Any]]] = {
    "by_key": (lambda s, wrong: s.by_key(wrong), [*NO_LIST, [HALF]]),
    "by_key corpus": (lambda s, wrong: s.by_key(["a"], corpus=wrong), NO_TEXT),
    "by_key view": (lambda s, wrong: s.by_key(["a"], view=wrong), ["0", 1, -1, 0.0, True, [0]]),
    "positions_of_keys": (lambda s, wrong: s.positions_of_keys(wrong), [*NO_LIST, [HALF]]),
    "positions_of_keys corpus": (lambda s, wrong: s.positions_of_keys(["a"], wrong), NO_TEXT),
    "by_digest": (lambda s, wrong: s.by_digest(wrong), [*NO_LIST, ["a" * 64], [b"a" * 31], {b"a" * 32}]),
    "positions_of_digests": (lambda s, wrong: s.positions_of_digests(wrong), [*NO_LIST, ["a" * 64], [b"a" * 31]]),
    "columns": (lambda s, wrong: s.columns("key", wrong), [None, 5, ["key"], b"key", "", HALF, "key", "nothing"]),
    "read": (lambda s, wrong: s.read(0, wrong), [None, "1", 1.0, -1, 99, [1], True]),
    "read view": (lambda s, wrong: s.read(0, 1, wrong), ["0", 1, 0.0]),
    "embeddings": (
        lambda s, wrong: s.embeddings(wrong),
        [5, "ab", {0, 1}, {0: 1}, [0.5], [[0]], [[0], [1, 2]], [True], [99], [-1], ["a"], [None]],
    ),
    "embeddings view": (lambda s, wrong: s.embeddings(view=wrong), ["0", 1, 0.0]),
    "embeddings threads": (lambda s, wrong: s.embeddings(threads=wrong), [0, -1, "2", 1.5, None]),
    "to_numpy view": (lambda s, wrong: s.to_numpy(wrong), ["0", 1, 0.0]),
    "to_numpy threads": (lambda s, wrong: s.to_numpy(threads=wrong), [0, "2", None]),
    "batches": (lambda s, wrong: list(s.batches(wrong)), [0, -1, "2", 1.5, [2]]),
    "batches positions": (lambda s, wrong: list(s.batches(positions=wrong)), ["ab", {0}, [0.5], [99]]),
    "batches threads": (lambda s, wrong: list(s.batches(threads=wrong)), [0, "2", None]),
    "row_reader": (lambda s, wrong: s.row_reader(wrong), [None, 5, "ab", {0}, [0.5], [99]]),
    "row_reader readers": (lambda s, wrong: s.row_reader([0], wrong), [0, "2", None]),
    "diff_versions": (lambda s, wrong: diff_versions(s, wrong), ["features/a/b", None, 5]),
    "diff_versions old": (lambda s, wrong: diff_versions(wrong, s), ["features/a/b", None, 5]),
}

WRITES: dict[str, tuple[Callable[[str, Any], Any], list[Any]]] = {
    "append keys": (lambda uri, wrong: append(uri, wrong, TWO), [*NO_LIST, [HALF, "x"], ["x"], []]),
    "append embeddings": (
        lambda uri, wrong: append(uri, ["x", "y"], wrong),
        [
            None,
            5,
            "ab",
            [[1.0], [1.0, 2.0]],
            [["a"], ["b"]],
            np.ones((2, 3), int),
            np.ones(2),
            [[None] * 3] * 2,
            {1, 2},
            TWO * 1j,
            ONE,
            object(),
            np.ma.masked_array(TWO, TWO > 0),
        ],
    ),
    "append label": (
        lambda uri, wrong: append(uri, ["x", "y"], TWO, label=wrong),
        ["ab", 5, {"a", "b"}, {"x": "a", "y": "b"}, ["a"], [HALF, "a"], [[1], {}], np.array("a"), [object(), object()], np.ones((2, 2))],
    ),
    "append digest": (lambda uri, wrong: append(uri, ["x", "y"], TWO, digest=wrong), [["a", "b"], [1, 2], [b"a", b"b"], "ab"]),
    "append attribute": (lambda uri, wrong: append(uri, ["x"], ONE, price=wrong), [[2**70], 5, {"x": 1}, [ONE], [b"a"]]),
    "append name": (
        lambda uri, wrong: append(uri, ["x"], ONE, **{wrong: ["a"]}),
        ["labels", "Label", "lable", "splits", "digests", "", HALF, "row", "view"],
    ),
    "append corpus": (lambda uri, wrong: append(uri, ["x"], ONE, corpus=wrong), [*NO_TEXT, None, "", "a/b"]),
    "replace keys": (lambda uri, wrong: replace(uri, wrong, TWO), [*NO_LIST, [HALF, "a"], ["a"]]),
    "replace embeddings": (lambda uri, wrong: replace(uri, ["a"], wrong), [None, [[1.0], [1.0, 2.0]], np.ones((1, 3), int)]),
    "replace corpus": (lambda uri, wrong: replace(uri, ["a"], ONE, corpus=wrong), NO_TEXT),
    "remove": (lambda uri, wrong: remove(uri, wrong), [None, 5, "ab", b"ab", [None], [5], [["a"]], [HALF], []]),
    "remove corpus": (lambda uri, wrong: remove(uri, ["a"], corpus=wrong), NO_TEXT),
    "relabel": (
        lambda uri, wrong: relabel(uri, wrong),
        ["a", 5, ["a"], None, {}, {"a": 5}, {5: "x"}, {"a": HALF}, {HALF: "x"}, {"a": ["x"]}],
    ),
    "relabel splits": (lambda uri, wrong: relabel(uri, None, wrong), ["a", 5, ["a"], {"a": 5}, {5: "x"}]),
    "relabel corpus": (lambda uri, wrong: relabel(uri, {"a": "x"}, corpus=wrong), NO_TEXT),
}
NAMES: list[Any] = [
    None,
    5,
    "",
    "set",
    b"a/b/c",
    ["a/b/c"],
    f"{HALF}/team/set",
    f"root/team/{HALF}",
    "ro\0ot/team/set",
    "s3://b\ud800/team/set",
    "a/b/c@",
    object(),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_space: Callable[..., Space]) -> MadeSet:
    made = new_set(SetName(tmp_path_factory.mktemp("requests") / "store", "team", "set"), make_space(), "parquet")
    made.commit("one", {"a": 1, "b": 2})
    return made


def require_words(act: Callable[[], Any], wrong: Any) -> None:
    try:
        act()
    except UsageError:
        return
    pytest.fail(f"{wrong!r} was taken")


@pytest.mark.parametrize("name", READS)
def test_what_cannot_be_read_is_told(made: MadeSet, name: str) -> None:
    (act, values), feature_set = READS[name], made.open()
    for wrong in values:
        require_words(partial(act, feature_set, wrong), wrong)


@pytest.mark.parametrize("name", WRITES)
def test_what_cannot_be_written_is_told_and_changes_nothing(made: MadeSet, name: str) -> None:
    act, values = WRITES[name]
    for wrong in values:
        require_words(partial(act, made.uri, wrong), wrong)
    assert list_versions(made.folder) == [1]


@pytest.mark.parametrize("act", [storage.open, storage.parse_set, partial(append, keys=["x"], embeddings=ONE), partial(remove, keys=["x"])])
def test_what_names_no_set_is_told(act: Callable[..., Any]) -> None:
    for wrong in NAMES:
        require_words(partial(act, wrong), wrong)


def test_a_set_name_has_a_path_as_its_root() -> None:
    with pytest.raises(UsageError, match=r"the root of a SetName is a Path; got 'features'. `parse_set` makes a SetName"):
        SetName("features", "team", "set")  # type: ignore[arg-type]


def test_words_say_what_is_wrong(made: MadeSet) -> None:
    for act, said in {
        lambda: append(made.uri, {"x", "y"}, TWO): "keys as a list in the order of the embeddings; a set has no order that could be meant",
        lambda: append(made.uri, ["x", "y"], TWO, label={"x": "a", "y": "b"}): "values of label as a list in the order of the keys; a dict",
        lambda: append(made.uri, ["x"], ONE, labels=["a"]): "'labels' is too like 'label' for the name of an attribute: was label= meant?",
        lambda: append(made.uri, [HALF], ONE): "has half a character",
        lambda: made.open().by_key(None): "expected a list of keys, got None",
    }.items():
        with pytest.raises(UsageError, match=said.replace("?", "[?]")):
            act()


def test_what_has_an_order_or_needs_none_is_taken(make_space: Callable[..., Space], tmp_path: Path) -> None:
    made = new_set(SetName(tmp_path / "store", "team", "set"), make_space(), "parquet")
    made.commit("imported", {"a": 1, "b": 2})
    values = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    append(made.uri, {"x": 0, "y": 0}.keys(), values, label=pa.chunked_array([["p", "q"]]), label2=np.array([1, 2]), **{"a.b": ("u", "v")})
    remove(made.uri, {"a", "b"})
    feature_set = made.open()
    assert feature_set.to_numpy()[0] == ["x", "y"]
    assert feature_set.columns("label", "label2", "a.b").to_pylist()[1] == {"label": "q", "label2": 2, "a.b": "v"}
    assert feature_set.by_key(np.array(["y", "x"])).keys == ["y", "x"]
    assert feature_set.embeddings(range(2)).tolist() == values
