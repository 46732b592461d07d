from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractor.corpus import Item, Listing, ListingReject
from extractor.ledger import Ledger
from extractor.receipt import RECEIPT_FIELDS, Receipt
from extractor.standing import Standing
from storage.files import FileEntry
from storage.index import EmbeddingIndex
from storage.items import ITEM_SCHEMA, REJECT_SCHEMA
from tests.extractor.listings import Known, diff_of, index_of, listing_of

Line = tuple[str, bytes | None, int | None, tuple[str, str] | None]  # key, digest, row, reject
CORRUPT = ("corrupt", "it is broken")
NON_FINITE = ("non-finite", "NaN")


def digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def listing(*keys: str, rejects: tuple[ListingReject, ...] = (), attributes: pa.Table | None = None) -> Listing:
    items = [Item(key, "1-1", key.split("/")[0] if "/" in key else None, "train" if "/" in key else None) for key in keys]
    return listing_of(items, rejects, attributes)


def receipt(unit: str, *lines: Line) -> Receipt:
    columns = {
        "key": [key for key, *_ in lines],
        "stamp": ["1-1"] * len(lines),
        "digest": [found for _, found, _, _ in lines],
        "row": [row for _, _, row, _ in lines],
        "reason": [reject[0] if reject else None for *_, reject in lines],
        "message": [reject[1] if reject else None for *_, reject in lines],
    }
    rows = sum(row is not None for _, _, row, _ in lines)
    sha256 = hashlib.sha256(unit.encode()).hexdigest()
    shard = FileEntry(f"shards/{sha256}.parquet", sha256, 1000 * rows, rows) if rows else None
    counters = {"read": len(lines), "bytes_read": 10 * len(lines), "embedded": rows}
    return Receipt(unit, "photos", shard, pa.table(columns, schema=pa.schema(RECEIPT_FIELDS)), counters, {"infer": 0.5})


def ledger(listed: Listing, known: dict[str, Known] | None = None, index: EmbeddingIndex | None = None) -> Ledger:
    index = index or EmbeddingIndex()
    return Ledger(listed, diff_of(listed.items, known or {}, index), index)


def items(standing: Standing) -> pa.Table:
    return pa.concat_tables([ITEM_SCHEMA.empty_table(), *standing.items()], promote_options="default")


def rejects(standing: Standing) -> pa.Table:
    return pa.concat_tables([REJECT_SCHEMA.empty_table(), *standing.rejects()])


def keys(table: pa.Table) -> list[str]:
    return list(table["key"].to_pylist())


def test_before_any_receipt_everything_is_pending() -> None:
    standing = ledger(listing("a.jpg", "b.jpg")).settle()
    assert (standing.rows, standing.rejected, standing.pending) == (0, 0, 2)


def test_tables_have_the_schemas_of_storage() -> None:
    colours = pa.table({"colour": ["red", "blue", "green"]})
    book = ledger(listing("a.jpg", "b.jpg", "c.jpg", attributes=colours))
    book.add(receipt("u1", ("a.jpg", digest("a"), 0, None), ("b.jpg", digest("b"), None, CORRUPT), ("c.jpg", digest("c"), 1, None)))
    standing = book.settle()
    [table] = standing.items()
    assert table.schema == pa.schema([*ITEM_SCHEMA, ("colour", pa.string())])
    assert table["colour"].to_pylist() == ["red", "green"]
    [table] = standing.rejects()
    assert table.schema == REJECT_SCHEMA


def test_a_row_points_at_its_shard_and_carries_the_attributes() -> None:
    book = ledger(listing("hat/a.jpg"))
    book.add(receipt("u1", ("hat/a.jpg", digest("a"), 0, None)))
    [row] = items(book.settle()).to_pylist()
    assert row == {
        "key": "hat/a.jpg",
        "corpus": "photos",
        "digest": digest("a"),
        "stamp": "1-1",
        "shard": hashlib.sha256(b"u1").hexdigest(),
        "row": 0,
        "label": "hat",
        "split": "train",
    }


def test_a_reject_carries_reason_and_message() -> None:
    book = ledger(listing("a.jpg", "b.jpg"))
    book.add(receipt("u1", ("a.jpg", digest("a"), None, CORRUPT), ("b.jpg", None, None, ("unreadable", "gone"))))
    standing = book.settle()
    assert [(row["key"], row["digest"], row["reason"], row["message"]) for row in rejects(standing).to_pylist()] == [
        ("a.jpg", digest("a"), "corrupt", "it is broken"),
        ("b.jpg", None, "unreadable", "gone"),
    ]
    assert standing.reasons == {"corrupt": 1, "unreadable": 1}
    assert standing.pending == 0


def test_a_duplicate_in_another_unit_is_a_row_whichever_comes_first() -> None:
    first = receipt("u1", ("a.jpg", digest("same"), 0, None))
    second = receipt("u2", ("b.jpg", digest("same"), None, None))
    for order in ((first, second), (second, first)):
        book = ledger(listing("a.jpg", "b.jpg"))
        for one in order:
            book.add(one)
        rows = items(book.settle())
        assert keys(rows) == ["a.jpg", "b.jpg"]
        assert len(set(rows["shard"].to_pylist())) == 1


def test_the_twin_of_a_bad_image_is_a_reject_too() -> None:
    book = ledger(listing("a.jpg", "b.jpg"))
    book.add(receipt("u2", ("b.jpg", digest("same"), None, None)))
    assert [item.key for item in book.unresolved()] == ["b.jpg"]
    book.add(receipt("u1", ("a.jpg", digest("same"), None, CORRUPT)))
    assert not len(book.unresolved())
    assert book.settle().reasons == {"corrupt": 2}


def test_an_item_whose_twin_never_came_is_unresolved_and_pending() -> None:
    book = ledger(listing("a.jpg", "b.jpg", "c.jpg"))
    book.add(receipt("u1", ("a.jpg", digest("a"), 0, None), ("b.jpg", digest("lost"), None, None)))
    assert [item.key for item in book.unresolved()] == ["b.jpg"]  # c.jpg, of a lost unit, was never seen
    assert book.settle().pending == 2


def test_what_was_embedded_before_is_a_row() -> None:
    index = index_of({digest("old"): ("shard-0", 7)})
    book = ledger(listing("a.jpg", "new-name.jpg"), {"a.jpg": Known("1-1", digest("old"))}, index)
    book.add(receipt("u1", ("new-name.jpg", digest("old"), None, None)))
    assert items(book.settle())["shard"].to_pylist() == ["shard-0", "shard-0"]
    assert items(book.settle())["row"].to_pylist() == [7, 7]


def test_a_reject_known_from_before_stays_one_without_reading() -> None:
    book = ledger(listing("a.jpg"), {"a.jpg": Known("1-1", digest("a"), CORRUPT)})
    assert book.settle().reasons == {"corrupt": 1}
    assert book.unstorable == 0


def test_what_the_listing_rejects_is_a_reject() -> None:
    bad = ListingReject("caf\\xe9.jpg", "2-2", "bad-name", "the file name is not valid UTF-8")
    standing = ledger(listing("a.jpg", rejects=(bad,))).settle()
    assert rejects(standing).to_pylist() == [
        {
            "key": "caf\\xe9.jpg",
            "corpus": "photos",
            "digest": None,
            "stamp": "2-2",
            "reason": "bad-name",
            "message": "the file name is not valid UTF-8",
        }
    ]
    assert standing.pending == 1


def test_what_is_computed_twice_is_kept_once() -> None:
    book = ledger(listing("a.jpg", "b.jpg"))
    book.add(receipt("u1", ("a.jpg", digest("same"), 0, None)))
    book.add(receipt("u2", ("b.jpg", digest("same"), 0, None)))
    assert set(items(book.settle())["shard"].to_pylist()) == {hashlib.sha256(b"u1").hexdigest()}


def test_counters_and_seconds_are_summed() -> None:
    book = ledger(listing("a.jpg", "b.jpg", "c.jpg"))
    book.add(receipt("u1", ("a.jpg", digest("a"), 0, None), ("b.jpg", digest("b"), 1, None)))
    book.add(receipt("u2", ("c.jpg", digest("a"), None, None)))
    assert dict(book.counters) == {"read": 3, "bytes_read": 30, "embedded": 2}
    assert book.seconds["infer"] == pytest.approx(1.0)
    assert book.new_shards == [hashlib.sha256(b"u1").hexdigest()]


def test_images_that_cannot_be_stored_are_counted_once_an_image() -> None:
    book = ledger(listing("a.jpg", "b.jpg", "c.jpg"))
    book.add(receipt("u1", ("a.jpg", digest("a"), None, NON_FINITE), ("b.jpg", digest("a"), None, None)))
    book.add(receipt("u2", ("c.jpg", digest("c"), None, CORRUPT)))
    assert book.unstorable == 1


OUTCOMES = st.sampled_from(["row", "duplicate", "corrupt", "unreadable", "lost", "known", "known-bad"])


def settle_all(outcomes: list[str], order: list[int]) -> Standing:
    """One item an outcome, two items a unit, the receipts arriving in `order`."""
    names = [f"{i:03d}.jpg" for i in range(len(outcomes))]
    known: dict[str, Known] = {}
    places: dict[bytes, tuple[str, int]] = {}
    lines: dict[int, list[Line]] = {}
    for i, (key, outcome) in enumerate(zip(names, outcomes, strict=True)):
        unit = lines.setdefault(i // 2, [])
        row = sum(line[2] is not None for line in unit)
        if outcome == "row":
            unit.append((key, digest(key), row, None))
        elif outcome == "duplicate":  # of the first item, whatever became of that
            unit.append((key, digest(names[0]), None, None))
        elif outcome == "corrupt":
            unit.append((key, digest(key), None, CORRUPT))
        elif outcome == "unreadable":
            unit.append((key, None, None, ("unreadable", "")))
        elif outcome.startswith("known"):
            known[key] = Known("1-1", digest(key), CORRUPT if outcome == "known-bad" else None)
            places.update({} if outcome == "known-bad" else {digest(key): ("old", i)})
    book = ledger(listing(*names), known, index_of(places))
    for unit in sorted(lines, key=lambda unit: order[unit % len(order)]):
        if lines[unit]:
            book.add(receipt(f"u{unit}", *lines[unit]))
    return book.settle()


@pytest.mark.slow
@given(st.lists(OUTCOMES, max_size=12), st.permutations(range(6)), st.permutations(range(6)))
def test_nothing_vanishes_and_the_order_of_receipts_does_not_matter(outcomes: list[str], order: list[int], other: list[int]) -> None:
    standing = settle_all(outcomes, order)
    assert standing.rows + standing.rejected + standing.pending == len(outcomes)
    assert not set(keys(items(standing))) & set(keys(rejects(standing)))
    again = settle_all(outcomes, other)
    assert keys(items(again)) == keys(items(standing))
    assert rejects(again).equals(rejects(standing))
    assert again.pending == standing.pending


def test_a_diff_without_anything_to_read_settles_by_itself() -> None:
    book = ledger(listing("a.jpg"), {"a.jpg": Known("1-1", digest("a"))}, index_of({digest("a"): ("s", 0)}))
    assert book.settle().rows == 1


def test_a_receipt_survives_the_way_through_its_table() -> None:
    for one in (receipt("u1", ("a.jpg", digest("a"), 0, None)), receipt("u2", ("a.jpg", None, None, CORRUPT))):
        again = Receipt.from_table(one.to_table())
        assert again == one
