from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import storage
from storage.errors import SpaceMismatchError, UsageError
from trainer.evaluate import evaluate
from trainer.evaluate_multi_label import MultiLabelEvaluation
from trainer.evaluate_set import evaluate_head
from trainer.fitted import FittedHead
from trainer.head_folder import Head, load_head, save_head
from trainer.task import MultiLabel

pytestmark = pytest.mark.slow

Rows = list[Any]
MakeRows = Callable[..., Rows]
WriteSet = Callable[..., str]
WriteCsv = Callable[..., Path]


@pytest.fixture(scope="module")
def head(fitted: FittedHead, tmp_path_factory: pytest.TempPathFactory) -> Head:
    folder = tmp_path_factory.mktemp("head") / "head"
    save_head(fitted, folder)
    return load_head(folder)


def test_a_head_is_measured_on_another_set(head: Head, write_set: WriteSet, separable_rows: MakeRows) -> None:
    uri = write_set(separable_rows(10))
    seen: list[tuple[int, int]] = []
    result = evaluate_head(head, uri, show=lambda done, total: seen.append((done, total)))
    _, embeddings = storage.open(uri).to_numpy()
    y = np.repeat([0, 1, 2], 10)
    assert result.evaluation.to_dict() == evaluate([(y, head.predict(embeddings))], head.classes, head.temperature).to_dict()
    assert (result.unknown, result.unknown_rows, result.warnings) == ({}, 0, [])
    assert (seen[0], seen[-1]) == ((0, 30), (30, 30))
    said = json.loads(json.dumps(result.to_dict()))
    assert (said["set"], said["version"], said["metrics"]["rows"]) == (uri, 1, 30)


def test_batches_make_no_difference(head: Head, write_set: WriteSet, separable_rows: MakeRows, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = write_set(separable_rows(10))
    whole = evaluate_head(head, uri).evaluation.to_dict()
    monkeypatch.setattr("storage.feature_set.DEFAULT_BATCH_BYTES", 7 * 16)  # seven rows
    parts = evaluate_head(head, uri).evaluation.to_dict()
    assert whole.pop("log_loss") == pytest.approx(parts.pop("log_loss"))
    assert whole == parts


def test_only_one_split_is_measured(head: Head, write_set: WriteSet, separable_rows: MakeRows) -> None:
    rows = [replace(row, split=("train", "val", "test")[i % 3]) for i, row in enumerate(separable_rows(10))]
    uri = write_set(rows)
    assert evaluate_head(head, uri, split="validation").evaluation.to_dict()["rows"] == 10
    with pytest.raises(UsageError, match="unknown split 'dev'"):
        evaluate_head(head, uri, split="dev")
    with pytest.raises(UsageError, match="unknown split ''"):
        evaluate_head(head, uri, split="")


def test_a_split_that_no_item_has_is_told(head: Head, write_set: WriteSet, separable_rows: MakeRows, write_csv: WriteCsv) -> None:
    uri = write_set([*separable_rows(2), replace(separable_rows(1)[0], key="new.jpg", split="train")])
    with pytest.raises(UsageError, match=r"^no item gets the split 'test' from the items of \S+ \(splits: 6 none, 1 train\)"):
        evaluate_head(head, uri, split="test")
    with pytest.raises(UsageError, match=r"^no item gets the split 'test' from \S+labels\.csv \(splits: 1 train\)"):
        evaluate_head(head, uri, write_csv(["key", "label", "split"], ("new.jpg", "hat", "train")), split="test")


def test_labels_come_from_a_file(head: Head, write_set: WriteSet, separable_rows: MakeRows, write_csv: WriteCsv) -> None:
    rows = separable_rows(3)
    path = write_csv(["key", "label"], *[(row.key, row.label) for row in rows[:4]], ("gone.jpg", "hat"))
    result = evaluate_head(head, write_set(rows), path)
    assert (result.evaluation.to_dict()["rows"], result.labels.unmatched.count, result.labels.unlabelled.count) == (4, 1, 5)
    assert result.warnings[0] == "1 labels fit no item of the set, such as gone.jpg"


def test_classes_that_the_head_does_not_know_are_counted(head: Head, write_set: WriteSet, separable_rows: MakeRows) -> None:
    rows = [replace(row, label="tie" if row.label == "hat" else row.label) for row in separable_rows(5)]
    result = evaluate_head(head, write_set(rows))
    assert (result.evaluation.to_dict()["rows"], result.unknown, result.unknown_rows) == (10, {"tie": 5}, 5)
    assert "the head does not know 5 labels of 1 classes ('tie'): their items are left out" in result.warnings[0]


def test_no_known_class_at_all_is_told(head: Head, write_set: WriteSet, separable_rows: MakeRows) -> None:
    rows = [replace(row, label="tie") for row in separable_rows(2)]
    with pytest.raises(UsageError, match=r"the labels are like 'tie', the head knows 'coat', 'hat', 'shoe'"):
        evaluate_head(head, write_set(rows))


def test_another_space_is_refused_with_the_fields(head: Head, write_set: WriteSet, separable_rows: MakeRows) -> None:
    with pytest.raises(SpaceMismatchError, match="they differ in dtype:"):
        evaluate_head(head, write_set(separable_rows(2), dtype="float32"))


def test_the_set_that_it_was_fitted_on_is_told(head: Head, separable_set: str) -> None:
    assert "the head was fitted on items of this very set" in evaluate_head(head, f"{separable_set}@1").warnings[0]


def test_unknown_classes_of_many_leave_the_item_in(head: Head, write_set: WriteSet, separable_rows: MakeRows) -> None:
    """The same network read as sigmoids: only the bookkeeping is looked at."""
    labels = ["coat|tie", "|", "hat", "shoe|coat"]
    rows = [replace(row, label=label) for row, label in zip(separable_rows(2), labels, strict=False)]
    result = evaluate_head(replace(head, task=MultiLabel()), write_set(rows))
    assert isinstance(result.evaluation, MultiLabelEvaluation)
    assert (result.evaluation.rows, result.evaluation.support.tolist()) == (4, [2, 1, 1])
    assert (result.unknown, result.unknown_rows) == ({"tie": 1}, 0)
