from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractor.corpus import Item
from extractor.diff import Diff, Known, diff
from extractor.reasons import PASSING_REASONS

DIGEST = hashlib.sha256(b"x").digest()


def one(item: Item, known: dict[str, Known]) -> Diff:
    return diff((item,), known)


def test_an_item_never_seen_is_new_and_read() -> None:
    result = one(Item("a.jpg", "1-1"), {})
    assert (result.to_read, result.unchanged, result.new, result.changed, result.deleted) == ([Item("a.jpg", "1-1")], {}, 1, 0, 0)


def test_an_item_with_an_equal_stamp_is_not_read() -> None:
    known = {"a.jpg": Known("1-1", DIGEST)}
    assert one(Item("a.jpg", "1-1"), known) == Diff([], known, {}, {}, 0)


def test_who_distrusts_stamps_reads_everything() -> None:
    known = {"a.jpg": Known("1-1", DIGEST), "b.jpg": Known("1-1", DIGEST, ("corrupt", ""))}
    result = diff((Item("a.jpg", "1-1"), Item("b.jpg", "1-1")), known, rehash=True)
    assert (len(result.to_read), result.unchanged, result.read_before) == (2, {}, known)


def test_a_new_key_with_the_stamp_of_a_deleted_one_has_probably_moved() -> None:
    known = {"a.jpg": Known("10-1", DIGEST), "bad.jpg": Known("20-1", None, ("corrupt", "")), "c.jpg": Known("30-1", DIGEST)}
    items = (Item("b/a.jpg", "10-1"), Item("b/bad.jpg", "20-1"), Item("c.jpg", "30-1"), Item("d.jpg", "30-1"))
    result = diff(items, known)
    assert (result.new, result.deleted, result.moved) == (3, 2, 1)


def test_an_item_with_another_stamp_is_changed_and_read() -> None:
    result = one(Item("a.jpg", "1-2"), {"a.jpg": Known("1-1", DIGEST)})
    assert (len(result.to_read), result.unchanged, result.new, result.changed, result.deleted) == (1, {}, 0, 1, 0)


def test_a_new_label_alone_needs_no_reading() -> None:
    assert one(Item("a.jpg", "1-1", label="hat", split="test"), {"a.jpg": Known("1-1", DIGEST)}).to_read == []


def test_an_item_that_is_gone_is_deleted() -> None:
    known = {"a.jpg": Known("1-1", DIGEST)}
    assert diff((), known) == Diff([], {}, {}, known, 0)


@pytest.mark.parametrize("reason", ["corrupt", "not-an-image", "empty", "too-large", "non-finite"])
def test_a_final_reject_is_not_read_again(reason: str) -> None:
    known = {"a.jpg": Known("1-1", DIGEST, (reason, "why"))}
    assert one(Item("a.jpg", "1-1"), known).unchanged == known


@pytest.mark.parametrize("reason", sorted(PASSING_REASONS))
def test_a_passing_reject_is_read_again(reason: str) -> None:
    result = one(Item("a.jpg", "1-1"), {"a.jpg": Known("1-1", None, (reason, "why"))})
    assert (len(result.to_read), result.new, result.changed) == (1, 0, 1)


def test_a_final_reject_is_read_again_where_its_reason_is_to_be_tried_again() -> None:
    known = {"a.jpg": Known("1-1", DIGEST, ("corrupt", "why"))}
    assert diff((Item("a.jpg", "1-1"),), known, retry=["corrupt", "empty"]).to_read == [Item("a.jpg", "1-1")]
    assert diff((Item("a.jpg", "1-1"),), known, retry=["empty"]).unchanged == known


KEYS = st.text(alphabet="abcdef/", min_size=1, max_size=3)
STAMPS = st.sampled_from(["1-1", "1-2", "2-1"])
REJECTS = st.sampled_from([None, ("corrupt", ""), ("unreadable", ""), ("changed", "")])
KNOWN = st.dictionaries(KEYS, st.builds(Known, STAMPS, st.just(DIGEST), REJECTS))


@given(st.dictionaries(KEYS, STAMPS), KNOWN)
def test_every_item_is_either_read_or_unchanged_in_order(listed: dict[str, str], known: dict[str, Known]) -> None:
    items = tuple(Item(key, stamp) for key, stamp in sorted(listed.items()))
    result = diff(items, known)
    assert sorted([*(item.key for item in result.to_read), *result.unchanged]) == [item.key for item in items]
    assert result.to_read == [item for item in items if item.key not in result.unchanged]
    assert result.new + result.changed == len(result.to_read)
    assert result.new == len(listed.keys() - known.keys())
    assert result.deleted == len(known.keys() - listed.keys())
    assert all(result.unchanged[key].stamp == listed[key] for key in result.unchanged)
