"""What a head has seen of the items that it is measured on: told by --split, by other labels, in later versions, under other names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import storage
from storage.errors import UsageError
from storage.space import space_of_pixels
from tests.trainer.conftest import Row
from trainer.drift_of_set import drift_of
from trainer.evaluate_set import SetEvaluation, evaluate_head
from trainer.fit import fit
from trainer.given_splits import TEST, TRAIN, VALIDATION
from trainer.head_folder import Head, load_head, save_head
from trainer.labels import join, labels_for
from trainer.options import FitOptions
from trainer.questions import label_errors_of
from trainer.seen_items import NOT_AS_TESTED, OF_BOTH, OF_SET, OF_TRAIN, Seen, seen_items

pytestmark = pytest.mark.slow

WriteSet = Callable[..., str]
SPLITS = (TRAIN, VALIDATION, TEST)


@pytest.fixture
def rows(separable_rows: Callable[..., list[Row]]) -> list[Row]:
    return [replace(row, split=SPLITS[i % 3]) for i, row in enumerate(separable_rows(9))]


@pytest.fixture
def make_head(tmp_path: Path) -> Callable[..., Head]:
    def make(uri: str, **options: Any) -> Head:
        save_head(fit(uri, options=FitOptions("ridge", alpha=1.0, **options)), tmp_path / "head")
        return load_head(tmp_path / "head")

    return make


def told(result: SetEvaluation) -> tuple[bool, list[str]]:
    return result.is_seen, result.warnings


def test_of_its_own_splits_test_alone_is_unseen(write_set: WriteSet, rows: list[Row], make_head: Callable[..., Head]) -> None:
    uri = write_set(rows)
    head = make_head(uri)
    found = {split: told(evaluate_head(head, uri, split=split)) for split in (None, *SPLITS)}
    assert found == {None: (True, [OF_SET]), TRAIN: (True, [OF_TRAIN]), VALIDATION: (True, [OF_BOTH]), TEST: (False, [])}
    with pytest.raises(UsageError, match="the head has seen these items"):
        label_errors_of(evaluate_head(head, uri, split=VALIDATION))
    few = make_head(uri, shots=2)  # the validation items chose its temperature, and no more
    assert told(evaluate_head(few, uri, split=VALIDATION)) == (False, [])


def test_a_head_from_images_has_not_learned_from_validation(write_set: WriteSet, rows: list[Row], make_head: Callable[..., Head]) -> None:
    feature_set = storage.open(write_set(rows))
    head = make_head(str(feature_set.name))
    joined = join(feature_set.items, labels_for(feature_set, None, False))
    splits = joined.given.numbers(SPLITS)
    asked = (feature_set, joined, splits, (splits == 1).nonzero()[0], VALIDATION)
    assert seen_items(head, *asked) == Seen(True, OF_BOTH)
    tuned = replace(head, space=space_of_pixels(8, "image-v1"))
    assert seen_items(tuned, *asked) == Seen()
    started = {**head.description, "frozen": {"start": {"head": "heads/linear"}}}
    assert seen_items(replace(tuned, description=started), *asked) == Seen(True, OF_BOTH)


def test_other_splits_than_those_it_was_tested_by_are_told(
    write_set: WriteSet, rows: list[Row], make_head: Callable[..., Head], write_csv: Callable[..., Path]
) -> None:
    uri = write_set(rows)
    for head in (make_head(uri, seed=3, split_by="hash"), make_head(uri, shots=2, seed=3, split_by="hash")):
        assert told(evaluate_head(head, uri, split=TEST)) == (False, [NOT_AS_TESTED])
    assert told(evaluate_head(head, uri, split=VALIDATION)) == (False, [NOT_AS_TESTED])
    head = make_head(uri)
    only_tested = write_csv(["key", "label"], *[(row.key, row.label) for row in rows if row.split == TEST])
    assert evaluate_head(head, uri, only_tested).is_seen is False
    assert NOT_AS_TESTED not in evaluate_head(head, uri, only_tested).warnings


def test_what_came_in_a_later_version_is_unseen(write_set: WriteSet, rows: list[Row], make_head: Callable[..., Head]) -> None:
    uri = write_set(rows)
    head = make_head(uri)
    added = [replace(row, key=f"new/{row.key}", split=TEST) for row in rows[:6]]
    write_set([*rows, *added])
    assert told(evaluate_head(head, uri, split=TEST)) == (False, [])
    assert told(evaluate_head(head, uri)) == (True, [OF_SET])
    write_set(added)
    assert told(evaluate_head(head, uri)) == (False, [])


def test_a_set_is_the_heads_own_by_any_name(
    write_set: WriteSet, rows: list[Row], make_head: Callable[..., Head], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = write_set(rows)
    head = make_head(uri)
    write_set(rows)
    monkeypatch.chdir(tmp_path)
    shutil.copytree("store", "copy")
    shutil.copytree("store/team/set", "copy/team/renamed")
    write_set(rows, "../other/team/set")
    for name in ("store/team/set", "copy/team/set", "copy/team/renamed", f"{tmp_path}/copy/../store/team/set"):
        assert told(evaluate_head(head, name)) == (True, [OF_SET]), name
    assert drift_of(head, evaluate_head(head, "copy/team/set")) is not None
    shutil.move("store", "moved")
    assert told(evaluate_head(head, "moved/team/set", split=VALIDATION)) == (True, [OF_BOTH])


def test_another_set_of_the_same_name_is_another(write_set: WriteSet, rows: list[Row], make_head: Callable[..., Head]) -> None:
    head = make_head(write_set(rows))
    assert told(evaluate_head(head, write_set([replace(row, image=f"b{row.key}") for row in rows], "../b/team/set"))) == (False, [])
