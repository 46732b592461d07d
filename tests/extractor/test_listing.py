"""What a source finds, in whatever order and by however many threads, becomes one sorted listing in which each key is once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractor.corpus import Item, Listing, ListingReject, table_of
from extractor.listing import ListingBuilder
from storage import row_file, row_sorter
from tests.extractor.listings import attributes_of

KEYS = st.lists(st.text("abé/", max_size=3), max_size=40)


@pytest.fixture(autouse=True, scope="module")
def little_memory() -> Iterator[None]:
    """So that a few items take several files of several blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_sorter, "RUN_BYTES", 300)
        patch.setattr(row_file, "BLOCK_BYTES", 100)
        yield


def tell(item: Item, place: int, holder: Item, its_place: int) -> str:
    return f"{item.stamp} at {place} after {holder.stamp} at {its_place}"


def finished(builder: ListingBuilder) -> Listing:
    return builder.finish("photos", Path("/photos"), Path("/photos"), {"hidden": 2, "folder": 1}, tell)


def item_at(place: int, key: str) -> Item:
    return Item(key, f"stamp {place}", label=f"label {place}" if place % 2 else None, bytes=place if place % 3 else None)


def parts_of(data: st.DataObject, keys: Sequence[str]) -> list[list[int]]:
    """The places of all keys, in any order and any chunks."""
    order = data.draw(st.permutations(range(len(keys))))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(keys)), max_size=6)))
    return [order[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(keys)], strict=True)]


@pytest.mark.slow
@given(KEYS, st.data(), st.booleans())
def test_of_equal_keys_the_lowest_place_stays_and_the_others_are_rejects(keys: list[str], data: st.DataObject, as_tables: bool) -> None:
    builder = ListingBuilder()

    def add(places: list[int]) -> None:
        items = [item_at(place, keys[place]) for place in places]
        builder.add(table_of(items) if as_tables and items else items, places)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add, parts_of(data, keys)))
    assert builder.found_items == bool(keys)
    listing = finished(builder)
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    assert list(listing.items) == [item_at(place, key) for key, place in sorted(first.items())]
    assert sorted(listing.rejects, key=lambda reject: reject.message) == sorted(
        (
            ListingReject(key, f"stamp {place}", "repeated-key", f"stamp {place} at {place} after stamp {first[key]} at {first[key]}")
            for place, key in enumerate(keys)
            if place != first[key]
        ),
        key=lambda reject: reject.message,
    )
    assert listing.listed == len(keys)
    assert listing.skipped == {"folder": 1, "hidden": 2}


@given(st.sets(st.text("abé/", max_size=3), max_size=30), st.data())
def test_attributes_stay_with_their_items_and_have_the_type_that_holds_all(names: set[str], data: st.DataObject) -> None:
    keys = sorted(names)
    builder = ListingBuilder()
    for number, places in enumerate(parts_of(data, keys)):
        kind = (pa.int32(), pa.int64(), pa.float64())[number % 3]
        colours = pa.array([f"colour {place}" for place in places]).dictionary_encode()
        attributes = pa.table({"size": pa.array(places, kind), "colour": colours} if number % 2 else {"size": pa.array(places, kind)})
        builder.add([item_at(place, keys[place]) for place in places], None, attributes)
    rows = attributes_of(finished(builder)).to_pylist() if keys else []
    assert [row["size"] for row in rows] == list(range(len(keys)))
    assert {row.get("colour") for row in rows} <= {None, *(f"colour {place}" for place in range(len(keys)))}
    assert all(row.get("colour") in (None, f"colour {place}") for place, row in enumerate(rows))


@pytest.mark.parametrize("far_apart", [False, True])
def test_types_that_do_not_go_together_become_text_whether_they_meet_in_memory_or_in_files(far_apart: bool) -> None:
    builder = ListingBuilder()

    def add(key: str, value: object) -> None:
        items = [Item(f"{key}{i:03d}", "1-1") for i in range(100 if far_apart else 1)]
        builder.add(items, None, pa.table({"size": pa.array([value] * len(items))}))

    add("a", 1)
    add("b", "large")
    sizes = attributes_of(finished(builder))["size"].to_pylist()
    assert sizes == ["1"] * (len(sizes) // 2) + ["large"] * (len(sizes) // 2)


def test_rejects_are_sorted_and_the_first_of_them_can_be_asked_for() -> None:
    builder = ListingBuilder()
    assert builder.first_reject() is None
    rejects = [ListingReject(key, "1-1", "missing", "no such file") for key in ("c", "a", "b")]
    for reject in rejects:
        builder.reject([reject])
    assert builder.first_reject() == rejects[1]
    listing = finished(builder)
    assert [reject.key for reject in listing.rejects] == ["a", "b", "c"]
    assert (listing.listed, len(listing.items), list(listing.items)) == (3, 0, [])


def test_what_only_the_whole_corpus_tells_is_filled_in_block_by_block() -> None:
    builder = ListingBuilder()
    builder.add([Item(f"{i:03d}", "1-1") for i in range(50)])
    blocks = []

    def complete(block: pa.Table) -> pa.Table:
        blocks.append(block.num_rows)
        return block.set_column(block.schema.get_field_index("label"), "label", pa.array(["known now"] * block.num_rows))

    listing = builder.finish("photos", Path("/photos"), Path("/photos"), {}, tell, complete)
    assert {item.label for item in listing.items} == {"known now"}
    assert len(blocks) > 1
    assert sum(blocks) == 50
