from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.digests import words_of
from storage.errors import UsageError
from storage.statistics import FOLDS, fold_of
from trainer.given_splits import GivenSplits
from trainer.label_column import Label, LabelColumn
from trainer.label_join import Joined
from trainer.label_report import LabelReport
from trainer.split_checks import require_all_classes, split_warnings
from trainer.split_options import SplitOptions
from trainer.splits import TEST, TRAIN, UNUSED, VALIDATION, Split, split_items, split_joined

CLASSES = ("coat", "hat", "shoe")
UNVALIDATED = "training went on for all of --max-epochs"
# An item is the number of its image; an image's class follows from its number, so that duplicates have one label.
ITEMS = st.lists(st.integers(0, 60), min_size=1, max_size=120)
SHARES = st.floats(0, 0.9)
SEEDS = st.integers(0, 5)
HOW = st.sampled_from(["stratified", "hash"])


def digests(images: list[int]) -> npt.NDArray[np.uint64]:
    return words_of([hashlib.sha256(bytes([image])).digest() for image in images])


def label(image: int) -> str:
    return CLASSES[image % 3]


def split(
    images: list[int],
    test: float = 0.2,
    validation: float = 0.15,
    seed: int = 0,
    given: list[str | None] | None = None,
    groups: list[Any] | None = None,
    labels: list[Label] | None = None,
    **options: Any,
) -> Split:
    return split_items(
        digests(images),
        LabelColumn.of(labels or [(label(image),) for image in images]),
        GivenSplits.of(given or [None] * len(images)),
        SplitOptions(test=test, validation=validation, seed=seed, **options),
        None if groups is None else pa.array(groups),
    )


def sides(images: list[Any], names: list[str]) -> dict[Any, set[str]]:
    return {image: {name for other, name in zip(images, names, strict=True) if other == image} for image in images}


@given(ITEMS, SHARES, SHARES, SEEDS, HOW)
def test_no_image_straddles_when_no_split_is_given(images: list[int], test: float, validation: float, seed: int, how: str) -> None:
    result = split(images, test, validation, seed, how=how)
    assert all(len(names) == 1 for names in sides(images, result.names).values())
    assert (result.given, result.straddling) == (False, 0)
    assert result.names == split(images, test, validation, seed, how=how).names
    assert len(result.names) == len(images)


@given(ITEMS, SHARES, SHARES, st.randoms(use_true_random=False), HOW)
def test_the_order_of_items_does_not_matter(images: list[int], test: float, validation: float, shuffler: random.Random, how: str) -> None:
    shuffled = list(images)
    shuffler.shuffle(shuffled)
    first, second = split(images, test, validation, how=how), split(shuffled, test, validation, how=how)
    assert sides(images, first.names) == sides(shuffled, second.names)


@given(ITEMS, SHARES, SHARES)
def test_every_class_keeps_a_training_image(images: list[int], test: float, validation: float) -> None:
    result = split(images, test, validation)
    assert {label(images[i]) for i in result.positions(TRAIN)} == set(map(label, images))


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
    assert result.straddling == sum(len(names) > 1 for names in sides(images, result.names).values())


def test_a_given_validation_split_is_not_enlarged() -> None:
    assert split([1, 4, 7, 10], validation=0.5, given=["train", "train", "train", "valid"]).names == [TRAIN, TRAIN, TRAIN, VALIDATION]


def test_without_a_given_validation_split_some_of_train_is_held_out() -> None:
    images = list(range(30))
    result = split(images, validation=0.3, given=["train"] * 24 + ["test"] * 6)
    assert result.positions(TEST).tolist() == list(range(24, 30))
    assert len(result.positions(VALIDATION)) == pytest.approx(0.3 * 24, abs=1.5)


def test_given_splits_are_passed_over_when_another_is_asked_for() -> None:
    images = list(range(60))
    result = split(images, given=["train"] * 60, how="stratified")
    assert (result.given, result.names) == (False, split(images, how="stratified").names)


def test_given_splits_that_are_not_there_are_told() -> None:
    with pytest.raises(UsageError, match="carry splits to keep"):
        split([1, 2], how="given")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("train", TRAIN), ("Training", TRAIN), ("VAL", VALIDATION), ("valid", VALIDATION), ("validation", VALIDATION), ("Test", TEST)],
)
def test_spellings_of_splits(spelling: str, name: str) -> None:
    assert split([1, 4], given=[spelling, "val"]).names[0] == name


def test_an_unknown_split_is_told() -> None:
    with pytest.raises(UsageError, match="unknown split 'dev': expected train, validation"):
        split([1], given=["dev"])


@pytest.mark.parametrize("how", ["stratified", "hash"])
def test_another_seed_gives_another_split(how: str) -> None:
    images = list(range(60))
    assert split(images, seed=0, how=how).names != split(images, seed=1, how=how).names


def test_the_test_of_one_seed_may_be_kept_for_another() -> None:
    images = list(range(60))
    first = split(images)
    options = SplitOptions(seed=1)
    labels = LabelColumn.of([(label(image),) for image in images])
    other = split_items(digests(images), labels, GivenSplits.of([None] * 60), options, tested=first.positions(TEST))
    assert other.positions(TEST).tolist() == first.positions(TEST).tolist()
    assert other.positions(VALIDATION).tolist() != first.positions(VALIDATION).tolist()
    assert len(other.positions(VALIDATION)) == len(first.positions(VALIDATION))


def test_a_share_of_zero_holds_nothing_out() -> None:
    for how in ("stratified", "hash"):
        assert split(list(range(30)), test=0, validation=0, how=how).names == [TRAIN] * 30


def test_adding_images_moves_few_others() -> None:
    images = list(range(57))
    before = dict(zip(images, split(images).names, strict=True))
    after = dict(zip([*images, 57, 58, 59], split([*images, 57, 58, 59]).names, strict=True))
    assert sum(before[image] != after[image] for image in images) <= 6


@given(ITEMS, ITEMS, SHARES, SHARES, SEEDS)
def test_a_split_by_hash_does_not_depend_on_other_items(
    images: list[int], added: list[int], test: float, validation: float, seed: int
) -> None:
    before = split(images, test, validation, seed, how="hash").names
    assert split([*images, *added], test, validation, seed, how="hash").names[: len(images)] == before


def test_shares_of_a_twentieth_by_hash_are_whole_folds() -> None:
    """Of which the sums are known (storage.statistics)."""
    digests_of = [hashlib.sha256(str(image).encode()).digest() for image in range(2000)]
    fold = fold_of(pa.array(digests_of, pa.binary(32)))
    words, labels, none = words_of(digests_of), LabelColumn.of([("a",)] * 2000), GivenSplits.of([None] * 2000)
    found = []
    for seed in range(5):
        names = np.array(split_items(words, labels, none, SplitOptions("hash", 0.2, 0.1875, seed)).names)
        sides = [set(names[fold == number].tolist()) for number in range(FOLDS)]
        assert all(len(side) == 1 for side in sides)
        found.append([side.pop() for side in sides])
        assert [found[-1].count(name) for name in (TRAIN, VALIDATION, TEST)] == [13, 3, 4]
    assert len(set(map(tuple, found))) == 5, "each seed draws others"


def test_shares_of_a_split_by_hash_are_about_right() -> None:
    images = list(range(256))
    tested = [len(split(images, 0.3, 0.5, seed, how="hash").positions(TEST)) for seed in range(20)]
    validated = [len(split(images, 0.3, 0.5, seed, how="hash").positions(VALIDATION)) for seed in range(20)]
    assert np.mean(tested) == pytest.approx(0.3 * 256, abs=5)  # three deviations of a mean of twenty
    assert np.mean(validated) == pytest.approx(0.35 * 256, abs=5.2)


def test_positions_of_several_splits_are_ascending() -> None:
    result = Split(np.array([2, 0, 1, 0], np.int8), False)
    assert result.names == [TEST, TRAIN, VALIDATION, TRAIN]
    assert result.positions(TRAIN, TEST).tolist() == [0, 1, 3]
    assert result.positions().tolist() == []


# Groups

GROUPED = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), min_size=1, max_size=120)


@given(GROUPED, SHARES, SHARES, SEEDS, st.sampled_from(["auto", "grouped", "hash"]))
def test_no_image_and_no_group_straddles(rows: list[tuple[int, int]], test: float, validation: float, seed: int, how: str) -> None:
    images, groups = [image for image, _ in rows], [group for _, group in rows]
    result = split(images, test, validation, seed, groups=groups, group_by="product", how=how)
    for things in (images, groups):
        assert all(len(names) == 1 for names in sides(things, result.names).values())


@given(st.lists(st.integers(0, 30), min_size=1, max_size=120), SHARES, SEEDS)
def test_shares_of_groups_are_of_items_and_about_right(groups: list[int], share: float, seed: int) -> None:
    images = list(range(len(groups)))
    labels: list[Label] = [("hat",)] * len(groups)
    result = split(images, share, 0, seed, groups=groups, group_by="product", labels=labels)
    largest = max(groups.count(group) for group in groups)
    assert len(result.positions(TEST)) <= share * len(groups) + largest / 2
    assert len(result.positions(TRAIN)) > 0
    if 2 * share * len(groups) >= largest:  # then no group is too large to be held out; one stays, whatever the share
        assert len(result.positions(TEST)) >= min(share * len(groups) - largest / 2, len(groups) - 2 * largest)


@given(GROUPED, SHARES, SHARES)
def test_every_class_keeps_a_training_group(rows: list[tuple[int, int]], test: float, validation: float) -> None:
    images, groups = [image for image, _ in rows], [group for _, group in rows]
    result = split(images, test, validation, groups=groups, group_by="product")
    assert {label(images[i]) for i in result.positions(TRAIN)} == set(map(label, images))


@given(GROUPED, GROUPED, SHARES, SEEDS)
def test_groups_by_hash_do_not_depend_on_others(
    first: list[tuple[int, int]], second: list[tuple[int, int]], share: float, seed: int
) -> None:
    second = [(image + 100, group + 50) for image, group in second]  # else a shared image would tie groups together
    more = [(200 + i, group) for i, (_, group) in enumerate(first[:5])]

    def of(rows: list[tuple[int, int]]) -> list[str]:
        groups = [group for _, group in rows]
        return split([image for image, _ in rows], share, 0.2, seed, groups=groups, group_by="product", how="hash").names

    assert of([*first, *second, *more])[: len(first)] == of(first)


def test_groups_that_given_splits_tear_apart_are_counted() -> None:
    result = split([1, 2, 3, 4], given=["train", "test", "train", "val"], groups=["x", "x", "y", "z"], group_by="product")
    assert (result.straddling, result.straddling_groups) == (0, 1)


# Few shots


def test_only_training_items_are_reduced() -> None:
    images = list(range(60))
    full, few = split(images), split(images, shots=3)
    assert few.positions(TEST, VALIDATION).tolist() == full.positions(TEST, VALIDATION).tolist()
    assert [sum(label(images[i]) == name for i in few.positions(TRAIN)) for name in CLASSES] == [3, 3, 3]
    assert few.positions(TRAIN, UNUSED).tolist() == full.positions(TRAIN).tolist()


# Items of many classes

MANY = st.lists(st.sets(st.sampled_from(CLASSES)).map(lambda names: tuple(sorted(names))), min_size=1, max_size=60)


@given(MANY, SHARES, SHARES, SEEDS)
def test_no_image_of_many_classes_straddles_and_each_class_is_trained(many: list[Label], test: float, validation: float, seed: int) -> None:
    images = [i // 2 for i in range(len(many))]  # each image twice, perhaps with other labels
    result = split(images, test, validation, seed, labels=many)
    assert all(len(names) == 1 for names in sides(images, result.names).values())
    assert {name for i in result.positions(TRAIN) for name in many[i]} == {name for names in many for name in names}


# What is said


def joined(labels: list[str], splits: list[str | None] | None = None) -> Joined:
    column, given = LabelColumn.of([(name,) for name in labels]), GivenSplits.of(splits or [None] * len(labels))
    return Joined(np.arange(len(labels)), column, given, LabelReport("labels.csv"))


def test_a_class_that_nothing_is_learned_of_is_an_error() -> None:
    with pytest.raises(UsageError, match="the train split has no item of 'hat': a head cannot learn a class it never sees"):
        require_all_classes(joined(["coat", "hat"]), Split(np.array([0, 2], np.int8), False))
    require_all_classes(joined(["coat", "hat"]), Split(np.array([0, 0], np.int8), False))


@pytest.mark.parametrize(
    ("codes", "given", "said"),
    [
        ([0, 0, 0, 0], None, "no item was left to test on: the numbers say nothing about new images"),
        ([0, 0, 0, 0], None, "no item was left to validate on: training went on for all of --max-epochs"),
        ([0, 0, 1, 2], None, "the test split has no item of 'coat': its numbers say nothing of that"),
        ([0, 0, 1, 2], None, "the validation split has no item of 'hat': its numbers say nothing of that"),
        ([0, 0, 1, 3], None, "1 training items were left out: more than the shots"),
        ([0, 0, 1, 2], ["train", None, None, None], "items or labels carry splits, which were passed over"),
    ],
)
def test_warnings(codes: list[int], given: list[str | None] | None, said: str) -> None:
    warnings = split_warnings(joined(["coat", "hat", "coat", "hat"], given), Split(np.array(codes, np.int8), False), UNVALIDATED)
    assert any(said in warning for warning in warnings)


def test_nothing_is_said_of_a_good_split() -> None:
    assert split_warnings(joined(["coat", "hat"] * 3), Split(np.array([0, 0, 1, 1, 2, 2], np.int8), False), UNVALIDATED) == []


def test_classes_too_small_to_hold_out_of_have_a_way_out() -> None:
    for images, told in ((2, True), (4, False)):
        labels = joined([f"class {i}" for i in range(9)] * images)
        split = split_joined(table([f"class {i}" for i in range(9)] * images), labels, SplitOptions())
        assert any("--split-by hash holds out" in warning for warning in split_warnings(labels, split, UNVALIDATED)) == told


def test_what_given_splits_do_wrong_is_said() -> None:
    result = Split(np.array([0, 0, 1, 2], np.int8), True, 2, 3)
    warnings = split_warnings(joined(["coat", "hat", "coat", "hat"], ["train", None, "val", "test"]), result, UNVALIDATED)
    assert "2 images stand in more than one of the given splits: test numbers are too good" in warnings
    assert "3 groups stand in more than one of the given splits: test numbers are too good" in warnings
    assert "1 labelled items have no split and were trained on" in warnings


# The items of a set


def table(products: list[str | None]) -> pa.Table:
    keys = [f"{i:02d}.jpg" for i in range(len(products))]
    return pa.table(
        {
            "key": keys,
            "digest": pa.array([hashlib.sha256(key.encode()).digest() for key in keys], pa.binary(32)),
            "product": pa.array(products, pa.string()).dictionary_encode(),
            "tags": [["x"]] * len(keys),
        }
    )


def test_items_are_grouped_by_one_of_their_columns() -> None:
    products = [str(i // 4) for i in range(24)]
    result = split_joined(table(["unlabelled", *products]), joined_after_first(24), SplitOptions(group_by="product"))
    assert all(len(names) == 1 for names in sides(products, result.names).values())
    assert len(result.positions(TEST)) == 4


def joined_after_first(count: int) -> Joined:
    whole = joined(["hat"] * count)
    return Joined(whole.positions + 1, whole.column, whole.given, whole.report)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("brand", "no item has a column 'brand' to group by; there are key, digest, product, tags"),
        ("product", r"1 labelled items have no product to group by, such as 02\.jpg: give each a value"),
        ("tags", r"the column 'tags' to group by has a list<.*> in each cell: expected text or a number"),
    ],
)
def test_columns_that_cannot_group_are_told(column: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        split_joined(table([None, "a", None]), joined_after_first(2), SplitOptions(group_by=column))


def test_shares_of_splits_that_are_given_are_passed_over_and_told() -> None:
    names = ["train", "val", "test", "train", "val", "test"]
    labels = joined(["coat", "coat", "coat", "hat", "hat", "hat"], names)
    options = SplitOptions(test=0.0, validation=0.3)
    told = split_warnings(labels, split_joined(table(["a"] * 6), labels, options), UNVALIDATED)
    said = "the share of {} that was asked for was passed over, as splits are given: split by hash or stratified for shares"
    assert told == [said.format("test"), said.format("validation")]
    assert split_joined(table(["a"] * 6), labels, SplitOptions()).passed_over == ()
    drawn = split_joined(table(["a"] * 6), joined(["coat"] * 3 + ["hat"] * 3), options)
    assert drawn.passed_over == ()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"how": "random"}, "split by one of auto, given, hash, stratified, grouped; got 'random'"),
        ({"test": 0.95}, "test must be from 0 to 0.9, got 0.95"),
        ({"validation": float("nan")}, "validation must be from 0 to 0.9, got nan"),
        ({"seed": -1}, "seed must be from 0"),
        ({"shots": 0}, "shots must be a whole number from 1, got 0"),
        ({"how": "grouped"}, "pass --group-by COLUMN"),
        ({"how": "stratified", "group_by": "product"}, "a stratified split divides the groups of product"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        SplitOptions(**options)
