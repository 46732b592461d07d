"""Single items of a set come, change and go, and nothing else of it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import storage
from scripts.made_set import MadeSet
from storage.changes import append, relabel, remove, replace
from storage.errors import AlreadyExistsError, ConflictError, NotFoundError, UsageError
from storage.verify import verify_set
from storage.versions import list_versions


@pytest.fixture(params=["parquet", "hdf5"])
def made(request: pytest.FixtureRequest, make_set: Callable[..., MadeSet]) -> MadeSet:
    """Corpus one: a, b, c and the reject bad; corpus two: a."""
    made = make_set(shard_format=request.param)
    made.commit("one", {"a": 1, "b": 2, "c": 3}, rejected=["bad"])
    made.commit("two", {"a": 4})
    return made


def vectors(*pictures: int) -> npt.NDArray[Any]:
    return np.stack([np.full(3, picture, np.float32) for picture in pictures])


def held(made: MadeSet, corpus: str, at: str | None = None) -> dict[str, list[float]]:
    feature_set = made.open(at)
    keys, values = feature_set.to_numpy()
    corpora = feature_set.items["corpus"].to_pylist()
    return {key: value.tolist() for key, value, owner in zip(keys, values, corpora, strict=True) if owner == corpus}


def labels(made: MadeSet, corpus: str = "one") -> dict[str, Any]:
    rows = made.open().items.select(["key", "corpus", "label", "split"]).to_pylist()
    return {row["key"]: (row["label"], row["split"]) for row in rows if row["corpus"] == corpus}


def test_items_are_appended_to_a_corpus_and_the_rest_stays(made: MadeSet) -> None:
    before = held(made, "one")
    done = append(made.uri, ["0", "bb"], vectors(7, 8), corpus="one", label=["x", None], split=None)
    assert (done.version, done.committed, done.keys, done.rejected) == (3, True, 2, {})
    assert held(made, "one") == {"0": [7, 7, 7], "a": before["a"], "b": before["b"], "bb": [8, 8, 8], "c": before["c"]}
    assert labels(made)["0"] == ("x", None)
    assert labels(made)["a"] == ("label-1", "train")
    state = made.open().manifest.corpora["one"]
    assert (state.listed, state.rows, state.rejected) == (6, 5, 1)
    assert made.open("2").rows == 4
    assert verify_set(made.name, full=True).findings == ()


def test_a_corpus_by_hand_is_made_by_the_first_append_with_attributes(made: MadeSet) -> None:
    append(made.uri, ["n"], vectors(7), price=[3])
    append(made.uri, ["m"], vectors(8), colour=["red"])
    rows = {row["key"]: row for row in made.open().items.to_pylist() if row["corpus"] == "imported"}
    assert [(rows[key]["price"], rows[key]["colour"]) for key in "mn"] == [(None, "red"), (3, None)]


def test_what_is_there_already_is_appended_once(made: MadeSet) -> None:
    append(made.uri, ["n"], vectors(7))
    again = append(made.uri, ["n"], vectors(7))
    assert (again.version, again.committed) == (3, False)
    some = append(made.uri, ["n", "o"], vectors(7, 8))
    assert (some.version, held(made, "imported")) == (4, {"n": [7, 7, 7], "o": [8, 8, 8]})


@pytest.mark.parametrize(("pictures", "columns"), [((9,), {}), ((7,), {"label": ["other"]})])
def test_a_key_that_means_something_else_is_not_appended(made: MadeSet, pictures: Sequence[int], columns: dict[str, Any]) -> None:
    append(made.uri, ["n"], vectors(7))
    with pytest.raises(AlreadyExistsError, match=r"has 'n' in corpus 'imported' already.*replace them"):
        append(made.uri, ["n"], vectors(*pictures), **columns)
    assert list_versions(made.folder) == [1, 2, 3]


def test_items_are_replaced(made: MadeSet) -> None:
    before = held(made, "one")
    done = replace(made.uri, ["b"], vectors(7), label=["new"])
    assert (done.corpus, done.version) == ("one", 3)
    assert held(made, "one") == {**before, "b": [7, 7, 7]}
    assert labels(made)["b"] == ("new", "train"), "what is not given stays"
    replace(made.uri, ["b"], vectors(8), split=[None])
    assert (held(made, "one")["b"], labels(made)["b"]) == ([8, 8, 8], ("new", None))
    assert made.open().manifest.corpora["one"].listed == 4


def test_attributes_stay_unless_a_replacement_brings_them(made: MadeSet) -> None:
    append(made.uri, ["m", "n"], vectors(7, 8), price=[3, 4], colour=["red", "blue"])
    replace(made.uri, ["m"], vectors(9), price=[5], size=[1])
    rows = {row["key"]: row for row in made.open().items.to_pylist()}
    assert [[rows[key][name] for name in ("price", "colour", "size")] for key in "mn"] == [[5, "red", 1], [4, "blue", None]]


def test_an_item_whose_new_embedding_cannot_be_stored_stays(made: MadeSet) -> None:
    before = held(made, "one")
    done = replace(made.uri, ["b", "c"], np.array([[np.nan, 0, 0], [7, 7, 7]]))
    assert (done.version, done.keys, done.rejected) == (3, 2, {"b": "non-finite"})
    assert held(made, "one") == {**before, "c": [7, 7, 7]}
    assert made.open().rejects["key"].to_pylist() == ["bad"]
    assert not replace(made.uri, ["b"], np.array([[np.nan, 0, 0]])).committed
    with pytest.raises(NotFoundError, match="has no 'zz' in corpus 'one'"):
        replace(made.uri, ["zz"], np.array([[np.nan, 0, 0]]), corpus="one")
    assert verify_set(made.name, full=True).findings == ()


def test_items_and_rejects_are_removed(made: MadeSet) -> None:
    done = remove(made.uri, ["b", "bad"])
    assert (done.committed, done.keys) == (True, 2)
    assert sorted(held(made, "one")) == ["a", "c"]
    state = made.open().manifest.corpora["one"]
    assert (state.listed, state.rows, state.rejected, state.rejects) == (2, 2, 0, None)
    remove(made.uri, ["a", "c"], corpus="one")
    feature_set = made.open()
    assert (feature_set.manifest.corpora["one"].items, feature_set.rows, len(feature_set.manifest.shards)) == ((), 1, 1)
    assert held(made, "one", "2").keys() == {"a", "b", "c"}


def test_items_are_relabelled_without_a_new_shard(made: MadeSet) -> None:
    shards = made.open().manifest.shards
    relabel(made.uri, {"b": "x", "c": None}, {"c": "test"})
    assert labels(made) == {"a": ("label-1", "train"), "b": ("x", "train"), "c": (None, "test")}
    assert made.open().manifest.shards == shards


def test_a_reject_may_be_appended_and_an_embedding_that_cannot_be_stored_is_one(made: MadeSet) -> None:
    done = append(made.uri, ["bad", "worse"], np.array([[1, 2, 3], [np.nan, 0, 0]]), corpus="one")
    assert done.rejected == {"worse": "non-finite"}
    assert (held(made, "one")["bad"], made.open().rejects["key"].to_pylist()) == ([1, 2, 3], ["worse"])
    assert made.open().manifest.corpora["one"].listed == 5


def test_a_key_of_several_corpora_needs_one_named(made: MadeSet) -> None:
    with pytest.raises(UsageError, match=r"in several corpora of .*: say in which one, one, two"):
        remove(made.uri, ["a"])
    remove(made.uri, ["a"], corpus="two")
    assert sorted(held(made, "one")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda uri: remove(uri, ["zz"]), NotFoundError, "none of the keys, such as 'zz'"),
        (lambda uri: remove(uri, ["b", "zz"]), NotFoundError, "has no 'zz' in corpus 'one'"),
        (lambda uri: relabel(uri, {"b": "x", "zz": "y"}), NotFoundError, "has no item 'zz' in corpus 'one'"),
        (lambda uri: replace(uri, ["zz"], vectors(1), corpus="one"), NotFoundError, "has no 'zz' in corpus 'one'"),
        (lambda uri: append(uri, ["n"], np.zeros((1, 4), np.float32)), UsageError, r"shape \[4\], those of .* \[3\]"),
        (lambda uri: append(uri, ["n"], vectors(1, 2)), UsageError, "1 keys for 2 embeddings"),
        (lambda uri: append(uri, ["n"], vectors(1), label=["x", "y"]), UsageError, "label has 2 values for 1 keys"),
        (lambda uri: append(uri, ["n"], vectors(1), row=[1]), UsageError, "'row' cannot be an attribute"),
        (lambda uri: append(uri, ["n"], vectors(1), corpus="a/b"), UsageError, "corpus 'a/b' is not a usable name"),
        (lambda uri: append(f"{uri}x", ["n"], vectors(1)), NotFoundError, "no feature set"),
        (lambda uri: append(uri, "pq", vectors(1, 2)), UsageError, "several keys, got one text, 'pq'"),
        (lambda uri: append(uri, ["n", "o"], vectors(1, 2), label="xy"), UsageError, "several values of label, got one text"),
        (lambda uri: replace(uri, "ab", vectors(1, 2)), UsageError, "several keys, got one text, 'ab'"),
        (lambda uri: remove(uri, "ab"), UsageError, "several keys, got one text, 'ab'"),
        (lambda uri: remove(uri, [3]), UsageError, "keys are texts; got 3"),
        (lambda uri: relabel(uri, {"b": 5}), UsageError, "labels are texts, or None to take one away; got 5 for 'b'"),
        (lambda uri: relabel(uri, None, {3: "train"}), UsageError, "keys are texts; got 3"),
        (lambda uri: relabel(uri, [("a", "b")]), UsageError, "expected labels as a dict of a text .* by key; got list"),
    ],
)
def test_a_request_without_sense_changes_nothing(made: MadeSet, act: Callable[[str], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        act(made.uri)
    assert list_versions(made.folder) == [1, 2]


def test_views_take_no_single_embeddings(make_set: Callable[..., MadeSet]) -> None:
    made = make_set(views=("plain", "flip"))
    made.commit("one", {"a": 1, "b": 2})
    with pytest.raises(UsageError, match="2 views of each image"):
        append(made.uri, ["n"], vectors(1))
    remove(made.uri, ["a"])
    np.testing.assert_array_equal(made.open().to_numpy(view=None)[1][0], made.embeddings([2]))


def test_a_change_computed_from_an_older_version_goes_by_key(made: MadeSet) -> None:
    append(made.uri, ["n"], vectors(7))
    remove(f"{made.uri}@2", ["b"])
    assert {*held(made, "one"), *held(made, "imported")} == {"a", "c", "n"}
    with pytest.raises(ConflictError, match="a version after '@2' has changed 'b' of corpus 'one'"):
        replace(f"{made.uri}@2", ["b"], vectors(8))


def test_features_that_somebody_only_stated_stay_so(made: MadeSet) -> None:
    append(made.uri, ["n"], vectors(7))
    remove(made.uri, ["b"])
    assert made.open().manifest.provenance["space"] == "stated"
    assert storage.open(f"{made.uri}@2").manifest.provenance.get("space") is None
