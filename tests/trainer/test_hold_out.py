from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.digests import Words, words_of
from storage.errors import UsageError
from trainer.few_shot import few_shot
from trainer.folds import k_folds, k_folds_by_hash
from trainer.hold_out import hold_out, strata
from trainer.label_column import Label, LabelColumn
from trainer.units import Units, units_of_groups, units_of_images

CLASSES = ("coat", "hat", "shoe")
IMAGES = st.lists(st.integers(0, 60), min_size=1, max_size=120)
SHARES = st.floats(0, 0.9)
SEEDS = st.integers(0, 5)
ROWS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), min_size=1, max_size=80)
MANY = st.lists(st.sets(st.sampled_from(CLASSES)).map(lambda names: tuple(sorted(names))), min_size=1, max_size=60)


def digests(images: list[int]) -> Words:
    return words_of([hashlib.sha256(bytes([image])).digest() for image in images])


def labels(images: list[int]) -> LabelColumn:
    return LabelColumn.of([(CLASSES[image % 3],) for image in images])


def units(images: list[int]) -> Units:
    return units_of_images(digests(images))


# Units


@given(ROWS)
def test_units_are_what_images_and_groups_tie_together(rows: list[tuple[int, int]]) -> None:
    found = units_of_groups(digests([image for image, _ in rows]), pa.array([str(group) for _, group in rows])).of_item.tolist()
    parts: list[set[tuple[str, int]]] = []
    for image, group in rows:
        tied = {("image", image), ("group", group)}
        apart = [part for part in parts if not part & tied]
        parts = [*apart, tied.union(*(part for part in parts if part & tied))]
    expected = [next(i for i, part in enumerate(parts) if ("group", group) in part) for _, group in rows]
    assert len(set(zip(found, expected, strict=True))) == len(set(found)) == len(set(expected))


def test_a_long_chain_is_one_unit() -> None:
    links = np.random.default_rng(0).permutation(2000)
    images = np.concatenate([links, links])
    words = np.stack([images, images, images, images], axis=1).astype(np.uint64)
    groups = pa.array(np.concatenate([links // 2, (links + 1) // 2]))  # each image stands in two groups
    assert len(units_of_groups(words, groups)) == 1


@given(IMAGES, IMAGES, SEEDS)
def test_draws_of_a_unit_are_its_own(images: list[int], others: list[int], seed: int) -> None:
    both, alone = units([*images, *others]), units(images)
    assert (both.draws(seed, "test")[both.of_item[: len(images)]] == alone.draws(seed, "test")[alone.of_item]).all()
    assert len(set(both.draws(seed, "test").tolist())) == len(both)


def test_draws_are_even() -> None:
    draws = units_of_images(np.arange(40_000, dtype=np.uint64).reshape(-1, 1).repeat(4, axis=1)).draws(3, "test")
    counts = np.histogram(draws.astype(float) / 2**64, bins=20, range=(0, 1))[0]
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)


# Holding out


@given(IMAGES, SHARES, SEEDS)
def test_the_share_of_each_class_is_about_right(images: list[int], share: float, seed: int) -> None:
    chosen = hold_out(units(images), labels(images), np.arange(len(images)), share, seed, "test")
    for remainder in range(3):
        all_images = {image for image in images if image % 3 == remainder}
        held_out = {images[i] for i in chosen} & all_images
        assert abs(len(held_out) - min(share * len(all_images), max(0, len(all_images) - 1))) <= 0.5 + 1e-9


@given(IMAGES)
def test_only_candidates_are_held_out_and_in_order(images: list[int]) -> None:
    candidates = np.arange(0, len(images), 2)
    chosen = hold_out(units(images), labels(images), candidates, 0.5, 0, "test").tolist()
    assert set(chosen) <= set(candidates.tolist())
    assert chosen == sorted(chosen)


@given(MANY)
def test_an_item_is_held_out_by_its_rarest_class(many: list[Label]) -> None:
    column, count = LabelColumn.of(many), Counter(name for names in many for name in names)
    for names, stratum in zip(many, strata(column), strict=True):
        assert (stratum < 0) == (not names)
        assert all(count[column.names[stratum]] <= count[name] for name in names)
        assert not names or column.names[stratum] in names


# Folds


@given(IMAGES, st.integers(2, 6), SEEDS)
def test_folds_are_a_partition_by_class_in_which_no_image_straddles(images: list[int], k: int, seed: int) -> None:
    of_images = units(images)
    if k > len(of_images):
        with pytest.raises(UsageError, match=f"cannot be divided into {k} folds"):
            k_folds(of_images, labels(images), k, seed)
        return
    folds = k_folds(of_images, labels(images), k, seed)
    fold_of = dict(zip(images, folds.tolist(), strict=True))
    assert [fold_of[image] for image in images] == folds.tolist()
    assert folds.tolist() == k_folds(of_images, labels(images), k, seed).tolist()
    for remainder in (None, 0, 1, 2):
        counts = [sum(fold == i and remainder in (None, image % 3) for image, fold in fold_of.items()) for i in range(k)]
        assert max(counts) - min(counts) <= 1


@given(ROWS, st.integers(2, 4), SEEDS)
def test_no_group_straddles_two_folds_and_they_are_as_even_as_groups_allow(rows: list[tuple[int, int]], k: int, seed: int) -> None:
    images, groups = list(range(len(rows))), [group for _, group in rows]
    of_groups = units_of_groups(digests(images), pa.array(groups))
    if k > len(of_groups):
        return
    folds = k_folds(of_groups, LabelColumn.of([("hat",)] * len(rows)), k, seed).tolist()
    assert len(set(zip(groups, folds, strict=True))) == len(set(groups))
    counts = np.bincount(folds, minlength=k)
    assert counts.max() - counts.min() <= max(groups.count(group) for group in groups)
    assert counts.min() > 0


@given(IMAGES, IMAGES, st.integers(2, 6), SEEDS)
def test_folds_by_hash_do_not_depend_on_others(images: list[int], others: list[int], k: int, seed: int) -> None:
    folds = k_folds_by_hash(units(images), k, seed)
    assert k_folds_by_hash(units([*images, *others]), k, seed)[: len(images)].tolist() == folds.tolist()
    assert folds.min() >= 0
    assert folds.max() < k


@pytest.mark.parametrize("k", [1, 0, -3, 2.5])
def test_a_number_of_folds_that_is_none_is_told(k: Any) -> None:
    with pytest.raises(UsageError, match="folds must be a whole number from 2"):
        k_folds(units([1, 2, 3]), labels([1, 2, 3]), k, 0)


# Few shots


@given(IMAGES, st.integers(1, 4), SEEDS)
def test_shots_are_images_of_each_class_and_fewer_are_among_more(images: list[int], shots: int, seed: int) -> None:
    there = {remainder: len({image for image in images if image % 3 == remainder}) for remainder in {image % 3 for image in images}}
    candidates = np.arange(len(images))
    if min(there.values()) < shots:
        with pytest.raises(UsageError, match=f"too few training images for {shots} shots: "):
            few_shot(units(images), labels(images), candidates, shots, seed)
        return
    chosen = few_shot(units(images), labels(images), candidates, shots, seed)
    assert Counter(images[i] % 3 for i in chosen) == dict.fromkeys(there, shots)
    assert len({images[i] for i in chosen}) == len(chosen)
    if shots > 1:
        assert set(few_shot(units(images), labels(images), candidates, shots - 1, seed)) <= set(chosen)


def test_too_many_shots_name_the_classes_and_how_many_there_are() -> None:
    with pytest.raises(UsageError, match=r"too few training images for 3 shots: 2 of 'coat', 1 of 'hat'\. Take fewer shots, hold out less"):
        few_shot(units([0, 3, 1, 2, 5, 8]), labels([0, 3, 1, 2, 5, 8]), np.arange(6), 3, 0)


def test_shots_of_many_classes_include_items_of_none() -> None:
    many: list[Label] = [("coat", "hat")] * 3 + [()] * 3 + [("hat",)] * 3
    chosen = few_shot(units(list(range(9))), LabelColumn.of(many), np.arange(9), 2, 0)
    counts = Counter(name for i in chosen for name in many[i] or ("none",))
    assert counts["none"] == 2
    assert counts["coat"] >= 2
    assert counts["hat"] >= 2
