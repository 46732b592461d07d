from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractor.corpus import Item, Items
from extractor.diff import union
from extractor.plan import MAX_UNIT_ITEMS, MIN_UNIT_ITEMS, SHARD_BYTES, UNITS_AIMED_AT, Unit, Units, halves, make_units, unit_size
from tests.extractor.listings import items_of


def items(n: int) -> Items:
    return items_of([Item(f"{i:08d}.jpg", "1-1") for i in range(n)])


@given(st.integers(0, 8_000), st.integers(1, 4 * SHARD_BYTES), st.integers(0, 10_000))
def test_units_partition_the_items_in_order_whatever_the_sizes(n: int, embedding_bytes: int, first_id: int) -> None:
    # Few items where one embedding fills a shard: such a plan has as many units as items.
    listed = items(min(n, 2_000) if embedding_bytes > SHARD_BYTES // 256 else n)
    plan = make_units(listed, embedding_bytes, first_id)
    units = list(plan)
    assert len(plan) == len(units)
    assert [item for unit in units for item in unit.items] == list(listed)
    described = [{"id": u.id, "items": len(u.items), "first": u.items[0].key, "last": u.items[-1].key} for u in units]
    assert plan.describe() == described
    assert all(unit.items for unit in units)
    assert [unit.id for unit in units] == [f"{first_id + i:06d}" for i in range(len(units))]
    assert all(len(unit.items) == 1 or len(unit.items) * embedding_bytes <= SHARD_BYTES for unit in units)
    assert len({len(unit.items) for unit in units[:-1]}) <= 1
    assert not units or len(units[-1].items) <= len(units[0].items)


@given(st.integers(0, 1_000))
def test_the_plan_is_a_pure_function(n: int) -> None:
    assert list(make_units(items(n), 4096)) == list(make_units(items(n), 4096))


def test_a_unit_comes_out_of_a_pickle_as_it_went_in() -> None:
    unit = Unit("000007-1", (Item("a", "1-1", "label", "train", 5, "a.tar#bytes=1+2"), Item("b", "")), (3, 1))
    assert pickle.loads(pickle.dumps(unit)) == unit  # noqa: S301 - its own bytes


def test_nothing_to_do_has_no_units() -> None:
    assert not len(make_units(items(0), 2560))


def test_few_items_are_one_unit() -> None:
    assert len(make_units(items(MIN_UNIT_ITEMS), 2560)) == 1
    assert [len(unit.items) for unit in make_units(items(MIN_UNIT_ITEMS + 1), 2560)] == [MIN_UNIT_ITEMS, 1]


@pytest.mark.slow
def test_many_items_are_about_as_many_units_as_aimed_at() -> None:
    assert len(make_units(items(100_000), 2)) == UNITS_AIMED_AT
    assert unit_size(100_000_000, 2) == MAX_UNIT_ITEMS


def test_large_maps_make_small_units() -> None:
    units = make_units(items(1000), 7 * 7 * 2048 * 4)
    assert len(next(iter(units)).items) == SHARD_BYTES // (7 * 7 * 2048 * 4)


def test_an_embedding_larger_than_a_shard_gets_a_unit_of_its_own() -> None:
    assert [len(unit.items) for unit in make_units(items(3), 2 * SHARD_BYTES)] == [1, 1, 1]


@pytest.mark.slow
@given(st.lists(st.sets(st.integers(0, 60), max_size=40), min_size=2, max_size=4), st.integers(1, 7))
def test_units_of_several_sets_say_who_reads_what(wanted: list[set[int]], size: int) -> None:
    parts = [items_of([Item(f"{i:03d}.jpg", "1-1") for i in sorted(numbers)]) for numbers in wanted]
    units = list(Units(union(parts), size))
    told = {item.key: unit.wanted_by(position) for unit in units for position, item in enumerate(unit.items)}
    everyone = sorted(set().union(*wanted))
    assert list(told) == [f"{i:03d}.jpg" for i in everyone]
    assert list(told.values()) == [sum(1 << number for number, numbers in enumerate(wanted) if i in numbers) for i in everyone]
    for unit in units:
        if len(unit.items) > 1:
            first, second = halves(unit)
            assert (first.items + second.items, first.sets + second.sets) == (unit.items, unit.sets)


def test_a_set_alone_reads_all_there_is() -> None:
    listed = items(3)
    [unit] = make_units(union([listed]), 2560)
    assert [unit.wanted_by(position) & 1 for position in range(3)] == [1, 1, 1]
