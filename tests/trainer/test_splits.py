from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import UsageError
from trainer.splits import TEST, TRAIN, VALIDATION, Split, hold_out, split_items, strata

CLASSES = ("coat", "hat", "shoe")
# An item is the number of its image; an image's class follows from its number, so that duplicates have one label.
ITEMS = st.lists(st.integers(0, 60), min_size=1, max_size=120)
SHARES = st.floats(0, 0.9)


def digests(images: list[int]) -> list[bytes]:
    return [bytes([image]) for image in images]


def labels(images: list[int]) -> list[str]:
    return [CLASSES[image % 3] for image in images]


def split(images: list[int], test: float = 0.2, validation: float = 0.15, seed: int = 0, given: list[str | None] | None = None) -> Split:
    return split_items(digests(images), labels(images), given or [None] * len(images), test, validation, seed)


def by_image(images: list[int], names: list[str]) -> dict[int, set[str]]:
    return {image: {name for other, name in zip(images, names, strict=True) if other == image} for image in images}


@given(ITEMS, SHARES, SHARES, st.integers(0, 5))
def test_no_image_straddles_when_no_split_is_given(images: list[int], test: float, validation: float, seed: int) -> None:
    result = split(images, test, validation, seed)
    assert all(len(names) == 1 for names in by_image(images, result.names).values())
    assert (result.given, result.straddling) == (False, 0)
    assert len(result.names) == len(images)


@given(ITEMS, SHARES, SHARES, st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_matter(images: list[int], test: float, validation: float, shuffler: random.Random) -> None:
    shuffled = list(images)
    shuffler.shuffle(shuffled)
    first, second = split(images, test, validation), split(shuffled, test, validation)
    assert by_image(images, first.names) == by_image(shuffled, second.names)


@given(ITEMS, SHARES, SHARES)
def test_every_class_keeps_a_training_image(images: list[int], test: float, validation: float) -> None:
    result = split(images, test, validation)
    trained = {labels(images)[i] for i in result.positions(TRAIN)}
    assert trained == set(labels(images))


@given(ITEMS, SHARES, st.integers(0, 5))
def test_the_share_of_each_class_is_about_right(images: list[int], share: float, seed: int) -> None:
    chosen = hold_out(digests(images), labels(images), range(len(images)), share, seed, TEST)
    for name in CLASSES:
        all_images = {image for image, label in zip(images, labels(images), strict=True) if label == name}
        held_out = {images[i] for i in chosen if labels(images)[i] == name}
        assert abs(len(held_out) - min(share * len(all_images), max(0, len(all_images) - 1))) <= 0.5 + 1e-9


@given(ITEMS)
def test_only_candidates_are_held_out_and_in_order(images: list[int]) -> None:
    candidates = list(range(0, len(images), 2))
    chosen = hold_out(digests(images), labels(images), candidates, 0.5, 0, TEST)
    assert set(chosen) <= set(candidates)
    assert chosen == sorted(chosen)


GIVEN = st.sampled_from([None, "train", "val", "test"])


@given(st.lists(st.tuples(st.integers(0, 20), GIVEN), min_size=1, max_size=60))
def test_given_splits_are_kept_and_straddling_images_counted(rows: list[tuple[int, str | None]]) -> None:
    images, given = [image for image, _ in rows], [name for _, name in rows]
    result = split(images, given=given)
    assert result.given == any(given)
    if not result.given:
        return
    normal = {"train": TRAIN, "val": VALIDATION, "test": TEST, None: TRAIN}
    for name, received in zip(given, result.names, strict=True):
        kept = {normal[name]} | ({VALIDATION} if normal[name] == TRAIN and "val" not in given else set())
        assert received in kept
    assert result.straddling == sum(len(names) > 1 for names in by_image(images, result.names).values())


def test_a_given_validation_split_is_not_enlarged() -> None:
    assert split([1, 4, 7, 10], validation=0.5, given=["train", "train", "train", "valid"]).names == [TRAIN, TRAIN, TRAIN, VALIDATION]


def test_without_a_given_validation_split_some_of_train_is_held_out() -> None:
    images = list(range(30))
    result = split(images, validation=0.3, given=["train"] * 24 + ["test"] * 6)
    assert result.positions(TEST) == list(range(24, 30))
    assert len(result.positions(VALIDATION)) == pytest.approx(0.3 * 24, abs=1.5)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("train", TRAIN), ("Training", TRAIN), ("VAL", VALIDATION), ("valid", VALIDATION), ("validation", VALIDATION), ("Test", TEST)],
)
def test_spellings_of_splits(spelling: str, name: str) -> None:
    assert split([1, 4], given=[spelling, "val"]).names[0] == name


def test_an_unknown_split_is_told() -> None:
    with pytest.raises(UsageError, match="unknown split 'dev': expected train, validation"):
        split([1], given=["dev"])


def test_another_seed_gives_another_split() -> None:
    images = list(range(60))
    assert split(images, seed=0).names != split(images, seed=1).names


def test_a_share_of_zero_holds_nothing_out() -> None:
    assert split(list(range(30)), test=0, validation=0).names == [TRAIN] * 30


def test_adding_images_moves_few_others() -> None:
    images = list(range(57))
    before = dict(zip(images, split(images).names, strict=True))
    after = dict(zip([*images, 57, 58, 59], split([*images, 57, 58, 59]).names, strict=True))
    assert sum(before[image] != after[image] for image in images) <= 6


def test_positions_of_several_splits_are_ascending() -> None:
    result = Split([TEST, TRAIN, VALIDATION, TRAIN], False, 0)
    assert result.positions(TRAIN, TEST) == [0, 1, 3]
    assert result.positions() == []


# Items of many classes


MANY = st.lists(st.sets(st.sampled_from(CLASSES)).map(lambda names: tuple(sorted(names))), min_size=1, max_size=60)


@given(MANY)
def test_an_item_is_held_out_by_its_rarest_class(many: list[tuple[str, ...]]) -> None:
    count = Counter(name for names in many for name in names)
    for names, stratum in zip(many, strata(many), strict=True):
        assert stratum in names or (stratum, names) == ("", ())
        assert all(count[stratum] <= count[name] for name in names)


@given(MANY, SHARES, SHARES, st.integers(0, 5))
def test_no_image_of_many_classes_straddles(many: list[tuple[str, ...]], test: float, validation: float, seed: int) -> None:
    images = [i // 2 for i in range(len(many))]  # each image twice, perhaps with other labels
    result = split_items(digests(images), strata(many), [None] * len(images), test, validation, seed)
    assert all(len(names) == 1 for names in by_image(images, result.names).values())


def test_items_of_one_class_are_held_out_by_it() -> None:
    assert strata([("hat",), ("coat",), ("hat",)]) == ["hat", "coat", "hat"]
