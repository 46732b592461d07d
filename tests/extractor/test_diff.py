from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractor.bad_images import BadImages
from extractor.corpus import Item
from extractor.diff import Diff, diff
from extractor.reasons import PASSING_REASONS
from storage.index import EmbeddingIndex
from tests.extractor.listings import Known, diff_of, index_of, items_of, known_rows, unchanged_keys

DIGEST = hashlib.sha256(b"x").digest()


def counts(found: Diff) -> tuple[list[str], list[str], int, int, int]:
    """(keys to read, unchanged keys, new, changed, deleted)."""
    return [item.key for item in found.to_read], unchanged_keys(found), found.new, found.changed, found.deleted


def test_an_item_never_seen_is_new_and_read() -> None:
    found = diff_of([Item("a.jpg", "1-1", "hat", None, 5)], {})
    assert counts(found) == (["a.jpg"], [], 1, 0, 0)
    assert list(found.to_read) == [Item("a.jpg", "1-1", "hat", None, 5)]


def test_an_item_with_an_equal_stamp_is_not_read() -> None:
    assert counts(diff_of([Item("a.jpg", "1-1")], {"a.jpg": Known("1-1", DIGEST)})) == ([], ["a.jpg"], 0, 0, 0)


def test_who_distrusts_stamps_reads_everything() -> None:
    known = {"a.jpg": Known("1-1", DIGEST), "b.jpg": Known("1-1", DIGEST, ("corrupt", ""))}
    assert counts(diff_of([Item("a.jpg", "1-1"), Item("b.jpg", "1-1")], known, rehash=True)) == (["a.jpg", "b.jpg"], [], 0, 2, 0)


def test_a_new_key_with_the_stamp_of_a_deleted_one_has_probably_moved() -> None:
    known = {"a.jpg": Known("10-1", DIGEST), "bad.jpg": Known("20-1", None, ("corrupt", "")), "c.jpg": Known("30-1", DIGEST)}
    items = (Item("b/a.jpg", "10-1"), Item("b/bad.jpg", "20-1"), Item("c.jpg", "30-1"), Item("d.jpg", "30-1"))
    found = diff_of(items, known)
    assert (found.new, found.deleted, found.moved) == (3, 2, 1)


def test_an_item_with_another_stamp_is_changed_and_read() -> None:
    assert counts(diff_of([Item("a.jpg", "1-2")], {"a.jpg": Known("1-1", DIGEST)})) == (["a.jpg"], [], 0, 1, 0)


def test_a_new_label_alone_needs_no_reading() -> None:
    assert not len(diff_of([Item("a.jpg", "1-1", label="hat", split="test")], {"a.jpg": Known("1-1", DIGEST)}).to_read)


def test_an_item_that_is_gone_is_deleted() -> None:
    assert counts(diff_of([], {"a.jpg": Known("1-1", DIGEST)})) == ([], [], 0, 0, 1)


def test_what_is_known_and_stands_nowhere_is_new() -> None:
    known = {"a.jpg": Known("1-1", DIGEST), "gone.jpg": Known("1-1", DIGEST)}
    assert counts(diff_of([Item("a.jpg", "1-1")], known, EmbeddingIndex())) == (["a.jpg"], [], 1, 0, 0)


@pytest.mark.parametrize("reason", ["corrupt", "not-an-image", "empty", "too-large", "non-finite"])
def test_a_final_reject_is_not_read_again(reason: str) -> None:
    assert unchanged_keys(diff_of([Item("a.jpg", "1-1")], {"a.jpg": Known("1-1", DIGEST, (reason, "why"))})) == ["a.jpg"]


@pytest.mark.parametrize("reason", sorted(PASSING_REASONS))
def test_a_passing_reject_is_read_again(reason: str) -> None:
    assert counts(diff_of([Item("a.jpg", "1-1")], {"a.jpg": Known("1-1", None, (reason, "why"))})) == (["a.jpg"], [], 0, 1, 0)


def test_a_final_reject_is_read_again_where_its_reason_is_to_be_tried_again() -> None:
    known = {"a.jpg": Known("1-1", DIGEST, ("corrupt", "why"))}
    assert counts(diff_of([Item("a.jpg", "1-1")], known, retry=["corrupt", "empty"])) == (["a.jpg"], [], 0, 1, 0)
    assert counts(diff_of([Item("a.jpg", "1-1")], known, retry=["empty"])) == ([], ["a.jpg"], 0, 0, 0)


def test_a_container_is_read_front_to_back_and_sizes_are_summed() -> None:
    items = [Item("a", "s", bytes=1, location="t.tar#2"), Item("b", "s", bytes=2, location="t.tar#1"), Item("c", "s", bytes=4)]
    found = diff_of(items, {"c": Known("s", DIGEST)})
    assert [item.key for item in found.to_read] == ["b", "a"]
    assert found.bytes_to_read == 3
    assert diff_of([*items, Item("d", "s")], {}).bytes_to_read is None


# Which record counts where the version and unfinished runs both know a key: (listed stamp, of the version, of a run) -> (state, digest).
V, R = hashlib.sha256(b"version").digest(), hashlib.sha256(b"run").digest()


@pytest.mark.parametrize(
    ("version", "run", "unchanged"),
    [("1", "1", True), ("1", "0", True), ("0", "1", True), ("0", "0", False), (None, "1", True), (None, "0", False), ("1", None, True)],
)
def test_an_unfinished_run_counts_where_it_saw_the_listed_state(version: str | None, run: str | None, unchanged: bool) -> None:
    committed = known_rows({"a": Known(version, V)} if version else {})
    recovered = known_rows({"a": Known(run, R)} if run else {})
    found = diff(items_of([Item("a", "1")]), committed, recovered, BadImages(), index_of({V: ("v", 0), R: ("r", 0)}))
    assert bool(unchanged_keys(found)) == unchanged
    [row] = next(found.decided.blocks()).to_pylist()
    if unchanged:
        assert row["permafrost:digest"] == (V if version == "1" else R)


def test_a_copy_whose_first_one_was_bad_in_an_unfinished_run_is_a_reject() -> None:
    bad = BadImages()
    bad.add(pa.table({"digest": pa.array([R], pa.binary(32)), "reason": ["corrupt"], "message": ["no end"]}))
    recovered = known_rows({"a": Known("1", R), "b": Known("0", R), "c": Known("1", V)})
    items = items_of([Item(key, "1") for key in "abc"])
    found = diff(items, known_rows({}), recovered, bad, EmbeddingIndex())
    assert unchanged_keys(found) == ["a"]
    assert next(found.decided.blocks()).to_pylist()[0]["permafrost:reason"] == "corrupt"
    assert unchanged_keys(diff(items, known_rows({}), recovered, bad, EmbeddingIndex(), retry=["corrupt"])) == []


KEYS = st.text(alphabet="abcdef/", min_size=1, max_size=3)
STAMPS = st.sampled_from(["1-1", "1-2", "2-1"])
REJECTS = st.sampled_from([None, ("corrupt", ""), ("unreadable", ""), ("changed", "")])
KNOWN = st.dictionaries(KEYS, st.builds(Known, STAMPS, st.just(DIGEST), REJECTS))


@pytest.mark.slow
@given(st.dictionaries(KEYS, STAMPS), KNOWN)
def test_every_item_is_either_read_or_unchanged_in_order(listed: dict[str, str], known: dict[str, Known]) -> None:
    items = [Item(key, stamp) for key, stamp in sorted(listed.items())]
    found = diff_of(items, known)
    unchanged = unchanged_keys(found)
    assert sorted([*(item.key for item in found.to_read), *unchanged]) == [item.key for item in items]
    assert list(found.to_read) == [item for item in items if item.key not in unchanged]
    assert found.new == len(listed.keys() - known.keys())
    assert found.changed == len(found.to_read) - found.new
    assert found.deleted == len(known.keys() - listed.keys())
    assert all(known[key].stamp == listed[key] for key in unchanged)
