"""What more is asked of a head on a set: all of it on one small head, which is fitted once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import storage
from storage.errors import UsageError
from trainer.drift import mean_distance, moments_of
from trainer.drift_of_set import drift_of
from trainer.evaluate_set import evaluate_head
from trainer.fit import fit
from trainer.fitted import FittedHead
from trainer.head_folder import Head, load_head, save_head
from trainer.options import FitOptions
from trainer.questions import Answers, compare, label_errors_of, near_duplicates_with_train, slices_of
from trainer.report import report_of_evaluation, report_of_fit, write_report
from trainer.task import MultiLabel

pytestmark = pytest.mark.slow

MakeRows = Callable[..., list[Any]]
WriteSet = Callable[..., str]


@pytest.fixture(scope="module")
def head(fitted: FittedHead, tmp_path_factory: pytest.TempPathFactory) -> Head:
    folder = tmp_path_factory.mktemp("head") / "head"
    save_head(fitted, folder)
    return load_head(folder)


def test_a_head_that_takes_hats_for_coats_is_compared(head: Head, write_set: WriteSet, separable_rows: MakeRows) -> None:
    uri = write_set(separable_rows(10))
    good = evaluate_head(head, uri)
    swapped = replace(head, classes=("hat", "coat", "shoe"))
    wrong = evaluate_head(swapped, uri)
    shuffled = np.random.default_rng(0).permutation(30)
    moved = replace(wrong, positions=wrong.positions[shuffled], evaluation=replace(wrong.evaluation, outcomes=taken(wrong, shuffled)))
    for other in (wrong, moved):
        found = compare(good, other)
        assert (found.difference, len(found.only_second)) == (pytest.approx(2 / 3), 0)
        keys = good.keys(found.positions[found.only_first])
        assert {key.split("/")[0] for key in keys} == {"coat", "hat"}
    assert compare(replace(good, may_be_seen=True), replace(wrong, is_seen=True)).seen == ("perhaps", "yes")
    assert compare(good, wrong).seen == ("no", "no")
    with pytest.raises(UsageError, match=r"measured on different items \(30 and 29\)"):
        compare(good, replace(wrong, positions=wrong.positions[:29]))


def test_heads_on_two_sets_are_compared_on_the_images_that_both_hold(head: Head, write_set: WriteSet, separable_rows: MakeRows) -> None:
    rows = separable_rows(10)
    good = evaluate_head(head, write_set(rows[:25], "one/set"))
    changed = replace(rows[0], image="another picture")
    swapped = replace(head, classes=("hat", "coat", "shoe"))
    found = compare(good, evaluate_head(swapped, write_set([changed, *rows[5:]], "two/set")))
    assert found.rows == 20
    assert {key.split("/")[0] for key in good.keys(found.positions[found.only_first])} == {"coat", "hat"}
    assert len(found.only_first) == 15
    relabelled = [replace(row, label="shoe") for row in rows]
    with pytest.raises(UsageError, match="different labels for the same items"):
        compare(good, evaluate_head(head, write_set(relabelled, "three/set")))
    with pytest.raises(UsageError, match="share no image of equal key and content"):
        compare(good, evaluate_head(head, write_set([replace(row, key=f"x{row.key}") for row in rows], "four/set")))


def taken(result: Any, order: np.ndarray) -> Any:
    return result.evaluation.outcomes.take(order)


def test_slices_go_by_the_items_columns(head: Head, write_set: WriteSet, separable_rows: MakeRows) -> None:
    rows = [replace(row, split="test" if i % 2 else "train") for i, row in enumerate(separable_rows(4))]
    result = evaluate_head(head, write_set(rows))
    found = slices_of(result, ["split", "label"])
    assert [(each.value, each.rows) for each in found["split"]] == [("test", 6), ("train", 6)]
    assert {each.value for each in found["label"]} == {"coat", "hat", "shoe"}
    with pytest.raises(UsageError, match="no item has a column 'camera'"):
        slices_of(result, ["camera"])


def test_label_errors_are_those_of_items_that_the_head_has_not_seen(
    head: Head, separable_set: str, write_set: WriteSet, separable_rows: MakeRows
) -> None:
    rows = separable_rows(10)
    surest = int(head.predict(np.stack([row.embedding for row in rows[:10]]))[:, 0].argmax())  # its probability is above the mean one
    wrong = replace(rows[surest], label="shoe")
    result = evaluate_head(head, write_set([*rows[:surest], wrong, *rows[surest + 1 :]], "others/set"))
    found = label_errors_of(result)
    assert result.keys(result.positions[found.positions]) == [wrong.key]
    of_many = replace(result, evaluation=evaluate_head(replace(head, task=MultiLabel()), write_set(rows, "tags/set")).evaluation)
    with pytest.raises(UsageError, match="this head gives an item any number of them"):
        label_errors_of(of_many)
    without = replace(result.evaluation, outcomes=replace(result.evaluation.outcomes, probabilities=None))
    with pytest.raises(UsageError, match="need the probabilities of all 30 items and 3 classes, which are kept up to"):
        label_errors_of(replace(result, evaluation=without))
    with pytest.raises(UsageError, match="the head has seen these items"):
        label_errors_of(evaluate_head(head, separable_set))


def test_near_duplicates_are_looked_for_in_train(head: Head, write_set: WriteSet, separable_rows: MakeRows) -> None:
    rows = [replace(row, split="train") for row in separable_rows(4)]
    near = replace(rows[0], key="near.jpg", embedding=rows[0].embedding * 1.01, split="test")
    uri = write_set([*rows, near])
    found = near_duplicates_with_train(evaluate_head(head, uri, split="test"), 0.9999)
    assert [(pair[2] > 0.9999, found.rows) for pair in found.pairs] == [(True, 1)]
    with pytest.raises(UsageError, match="pass --split test"):
        near_duplicates_with_train(evaluate_head(head, uri), 0.9)


def test_drift_is_told_of_a_newer_version_of_the_heads_own_set(head: Head, write_set: WriteSet, separable_rows: MakeRows) -> None:
    rows = separable_rows(8)
    uri = write_set(rows)
    head = replace(head, fitted_on=uri)
    assert drift_of(head, evaluate_head(head, uri)) is None
    moved = [replace(row, key=f"new/{row.key}", embedding=row.embedding + 4.0) for row in rows[:6]]
    write_set([*rows, *moved])
    result = evaluate_head(head, uri)
    drift = drift_of(head, result)
    assert drift is not None
    assert (drift.then, drift.now, drift.added, drift.rows, drift.share_added) == (1, 2, 6, 30, 0.2)
    assert drift.accuracy_then == head.tested
    assert drift.class_shares["coat"] == (pytest.approx(1 / 3), 1.0)
    features = storage.open(uri)
    is_new = np.array([key.startswith("new/") for key in features.items["key"].to_pylist()])
    embeddings = features.embeddings()
    assert drift.mean_distance == pytest.approx(mean_distance(moments_of(embeddings[~is_new]), moments_of(embeddings[is_new])))
    described = Answers({}, None, None, None, drift).to_dict(result)["drift"]
    assert json.loads(json.dumps(described))["added_now"]["accuracy"] == drift.accuracy_added[0]  # type: ignore[index]
    assert drift_of(head, evaluate_head(head, f"{uri}@1")) is None


def test_distance_of_means_is_in_spreads_and_maps_are_averaged() -> None:
    before = np.array([[0.0, 0.0], [2.0, 0.0]])
    assert mean_distance(moments_of(before), moments_of(before + np.array([0.0, 3.0]))) == pytest.approx(3)
    maps = np.repeat(before[:, None, None, :], 4, axis=2)
    assert mean_distance(moments_of(maps), moments_of(before)) == 0
    assert mean_distance(moments_of(before[:1]), moments_of(before)) == 0


def test_a_fit_and_an_evaluation_have_reports(fitted: FittedHead, head: Head, separable_set: str, tmp_path: Path) -> None:
    asked: list[tuple[str, str, bytes]] = []

    def pictures(items: Any) -> list[bytes | None]:
        asked.extend(items)
        return [b"jpeg"] * len(items)

    report = report_of_fit(fitted, "a title", pictures)
    assert (report.shown, report.near is not None, len(report.points)) == ("test", True, fitted.rows["test"])
    assert all(len(digest) == 32 and corpus == "photos" and key.endswith(".jpg") for corpus, key, digest in asked)
    assert set(report.evaluations) == {"train", "validation", "test"}
    result = evaluate_head(head, separable_set)
    report = report_of_evaluation(head, result, Answers(slices_of(result, ["label"]), None, None, None, None))
    assert report.errors is None  # it has seen them
    write_report(tmp_path / "report.html", report)
    assert "head on set" in (tmp_path / "report.html").read_text()


def test_several_labels_an_item_have_a_report_and_slices(head: Head, write_set: WriteSet, separable_rows: MakeRows) -> None:
    """The same network read as sigmoids."""
    labels = ["coat|hat", "|", "hat", "shoe|coat", "hat", "coat"]
    rows = [replace(row, label=label) for row, label in zip(separable_rows(2), labels, strict=True)]
    result = evaluate_head(replace(head, task=MultiLabel()), write_set(rows, "others/set"))
    report = report_of_evaluation(head, result, Answers(slices_of(result, ["split"]), None, None, None, None))
    assert {item.label for item in report.mistakes} <= {"coat, hat", "none", "coat, shoe", "hat", "coat", "shoe"}
    assert {point.label for point in report.points} == {-1, 0, 1}
    assert report.errors is None
    with pytest.raises(UsageError, match="one class each"):
        label_errors_of(result)
    assert compare(result, result).difference == 0


def test_a_head_without_validation_or_test_has_a_report(separable_set: str) -> None:
    for shares in ({"validation": 0.0}, {"test": 0.0, "validation": 0.0}):
        report = report_of_fit(fit(separable_set, options=FitOptions("class-mean", **shares)), "a title")
        assert report.shown == ("test" if "test" not in shares else "train")
