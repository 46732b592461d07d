"""Two versions side by side, against a plain comparison of dictionaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.made_set import MadeSet
from storage.commit import commit
from storage.version_diff import KINDS, diff_versions

MakeSet = Callable[..., MadeSet]

KEYS, PICTURES = st.sampled_from("abcdefgh"), st.integers(0, 5)
CORPORA = st.dictionaries(st.sampled_from(["one", "two"]), st.dictionaries(KEYS, PICTURES), max_size=2)


def changes(made: MadeSet, old: int, new: int) -> list[dict[str, Any]]:
    found = diff_versions(made.open(str(old)), made.open(str(new)))
    rows = [row for block in found.changes.blocks() for row in block.to_pylist()]
    assert {kind: count for kind, count in found.counts.items() if count} == dict(Counter(row["change"] for row in rows))
    assert found.counts.keys() == KINDS.keys()
    return rows


def told(rows: list[dict[str, Any]]) -> set[tuple[str, str | None, str | None]]:
    return {(row["change"], row["old_key"], row["key"]) for row in rows}


@pytest.mark.slow
@given(before=CORPORA, after=CORPORA)
def test_the_changes_lead_from_one_version_to_the_other(
    make_set: MakeSet, before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]
) -> None:
    made = make_set()
    for corpus in ("one", "two"):
        made.commit(corpus, before.get(corpus, {"z": 9}))
    old = made.open().version
    for corpus in ("one", "two"):
        made.commit(corpus, after.get(corpus, {"z": 9}))
    rows = changes(made, old, made.open().version)
    for corpus in ("one", "two"):
        state = {key: made.digest(picture) for key, picture in before.get(corpus, {"z": 9}).items()}
        for row in (row for row in rows if row["corpus"] == corpus):
            if row["old_key"] is not None:
                assert state.pop(row["old_key"]) == row["old_digest"]
            if row["key"] is not None:
                assert row["key"] not in state
                state[row["key"]] = row["digest"]
        assert state == {key: made.digest(picture) for key, picture in after.get(corpus, {"z": 9}).items()}
        kinds = [row["change"] for row in rows if row["corpus"] == corpus]
        added = {row["digest"] for row in rows if row["corpus"] == corpus and row["change"] == "added"}
        removed = {row["old_digest"] for row in rows if row["corpus"] == corpus and row["change"] == "removed"}
        assert not added & removed, "an image that came and went was renamed"
        assert len(kinds) <= len(before.get(corpus, {"z": 9})) + len(after.get(corpus, {"z": 9}))


def test_each_kind_of_change(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("photos", {"stays": 1, "goes": 2, "moves": 3, "turns": 4, "twice 1": 5, "twice 2": 5})
    made.commit("photos", {"stays": 1, "comes": 6, "moved": 3, "turns": 7, "else 1": 5, "else 2": 5, "else 3": 5})
    assert told(changes(made, 1, 2)) == {
        ("added", None, "comes"),
        ("removed", "goes", None),
        ("renamed", "moves", "moved"),
        ("changed", "turns", "turns"),
        ("renamed", "twice 1", "else 1"),
        ("renamed", "twice 2", "else 2"),
        ("added", None, "else 3"),
    }
    assert {("removed", "comes", None), ("added", None, "goes")} < told(changes(made, 2, 1))


def test_labels_and_splits_that_came_went_or_changed(make_set: MakeSet) -> None:
    made = make_set()
    first = made.draft("photos", {"a": 1, "b": 2, "c": 3, "d": 4})
    made.commit("photos", {"a": 1, "b": 2, "c": 3, "d": 4})
    items = made.open().items
    for name, values in (("label", ["label-1", "new", None, None]), ("split", ["train", "train", "train", "test"])):
        items = items.set_column(items.schema.get_field_index(name), name, pa.array(values, pa.string()))
    draft = made.draft_of("photos", items, first.shards)
    commit(made.name, made.open().manifest, draft, "photos")
    rows = changes(made, 1, 2)
    assert {(row["change"], row["key"], row["old_label"], row["label"], row["old_split"], row["split"]) for row in rows} == {
        ("relabelled", "b", None, "new", "train", "train"),
        ("relabelled", "c", "label-0", None, "train", "train"),
        ("relabelled", "d", None, None, "train", "test"),
    }


def test_a_version_is_no_different_from_itself(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("photos", {"a": 1})
    assert changes(made, 1, 1) == []


def test_files_that_both_versions_list_are_not_read(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("one", {"a": 1})
    made.commit("two", {"b": 2})
    for entry in made.open().manifest.corpora["one"].items:
        (made.folder / entry.path).unlink()
    assert told(changes(made, 1, 2)) == {("added", None, "b")}
