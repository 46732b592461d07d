from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import trainer
from storage.errors import NotFoundError, UsageError
from trainer.fit import fit
from trainer.fitted import FittedHead, summary
from trainer.options import FitOptions

pytestmark = pytest.mark.slow

# Small steps are for real features; these are few and far apart.
FAST = FitOptions(learning_rate=0.03, max_epochs=12, batch_size=64)
EXACT = FitOptions("class-mean")  # where any head will do: a tenth of the time

Rows = list[Any]
MakeRows = Callable[..., Rows]
WriteSet = Callable[..., str]
WriteCsv = Callable[..., Path]


def test_separable_features_are_learned(fitted: FittedHead) -> None:
    assert fitted.classes == ("coat", "hat", "shoe")
    assert {name: evaluation.accuracy > 0.95 for name, evaluation in fitted.metrics.items()} == {
        "train": True,
        "validation": True,
        "test": True,
    }
    assert fitted.rows == {"train": 81, "validation": 15, "test": 24}
    report = fitted.labels
    assert (report.unlabelled.count, report.unmatched.count, fitted.straddling_duplicates, fitted.warnings) == (0, 0, 0, [])
    assert fitted.metrics["test"].support.tolist() == [8, 8, 8]


def test_the_model_maps_features_to_probabilities(fitted: FittedHead, separable_rows: MakeRows) -> None:
    rows = separable_rows()
    probabilities = fitted.model.predict(np.stack([row.embedding for row in rows]), verbose=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    predicted = [fitted.classes[i] for i in probabilities.argmax(axis=1)]
    assert np.mean([name == row.label for name, row in zip(predicted, rows, strict=True)]) > 0.95


def test_the_same_seed_gives_the_same_head(fitted: FittedHead, separable_set: str) -> None:
    again = fit(separable_set, options=FAST)
    for a, b in zip(fitted.model.weights, again.model.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
    assert fitted.history == again.history
    assert (fitted.epochs, fitted.rows) == (again.epochs, again.rows)


def test_another_seed_splits_otherwise(fitted: FittedHead, separable_set: str) -> None:
    other = fit(separable_set, options=replace(FAST, seed=1))
    assert fitted.history["loss"][0] != other.history["loss"][0]


def test_maps_are_learned(write_set: WriteSet, separable_rows: MakeRows) -> None:
    fitted = fit(write_set(separable_rows(shape=(2, 3, 4))), options=FAST)
    assert fitted.model.input_shape == (None, 2, 3, 4)
    assert fitted.metrics["test"].accuracy > 0.95


def test_float32_sets_are_learned(write_set: WriteSet, separable_rows: MakeRows) -> None:
    assert fit(write_set(separable_rows(), dtype="float32"), options=EXACT).metrics["test"].accuracy > 0.95


def test_dead_units_do_not_blow_up(write_set: WriteSet, separable_rows: MakeRows) -> None:
    rows = [replace(row, embedding=np.concatenate([row.embedding, [0.0, 7.0, 0.0]])) for row in separable_rows()]
    fitted = fit(write_set(rows), options=FAST)
    assert fitted.metrics["test"].accuracy > 0.95
    awake = np.stack([row.embedding for row in rows]).astype(np.float32)
    awake[:, 8] = 0.5  # a unit that was dead in training wakes up
    probabilities = fitted.model.predict(awake, verbose=0)
    assert np.isfinite(probabilities).all()
    assert np.mean([fitted.classes[i] == row.label for i, row in zip(probabilities.argmax(axis=1), rows, strict=True)]) > 0.95


def test_labels_come_from_a_file(write_set: WriteSet, separable_rows: MakeRows, write_csv: WriteCsv) -> None:
    rows = separable_rows()
    uri = write_set([replace(row, label=None) for row in rows])
    path = write_csv(["path", "label"], *[(row.key, f"my {row.label}") for row in rows[:-5]], ("elsewhere.jpg", "my hat"))
    fitted = fit(uri, path, EXACT)
    assert fitted.classes == ("my coat", "my hat", "my shoe")
    assert (fitted.labels.unlabelled.count, fitted.labels.unmatched.count) == (5, 1)
    assert fitted.warnings == [
        "1 labels fit no item of the set, such as elsewhere.jpg",
        "5 items have no label and were left out, such as shoe/035.jpg, shoe/036.jpg, shoe/037.jpg",
    ]
    assert fitted.labels.source == str(path)
    assert len(fitted.labels.digest or "") == 64


def test_given_splits_are_kept(write_set: WriteSet, separable_rows: MakeRows) -> None:
    names = ["train"] * 7 + ["val"] + ["test"] * 2
    rows = [replace(row, split=names[i % 10]) for i, row in enumerate(separable_rows())]
    assert fit(write_set(rows), options=EXACT).rows == {"train": 84, "validation": 12, "test": 24}


def test_an_item_without_split_beside_given_ones_is_told(write_set: WriteSet, separable_rows: MakeRows) -> None:
    names = ["train"] * 6 + [None, "val"] + ["test"] * 2
    rows = [replace(row, split=names[i % 10]) for i, row in enumerate(separable_rows())]
    fitted = fit(write_set(rows), options=EXACT)
    assert fitted.warnings == ["12 labelled items have no split and were trained on"]


def test_duplicates_on_both_sides_of_given_splits_are_told(write_set: WriteSet, separable_rows: MakeRows) -> None:
    rows = [replace(row, split="test" if i % 4 == 0 else "train") for i, row in enumerate(separable_rows())]
    twin = replace(rows[0], key="coat/twin.jpg", split="train", image=rows[0].key)
    rows[0] = replace(rows[0], image=rows[0].key)
    fitted = fit(write_set([*rows, twin]), options=EXACT)
    assert fitted.straddling_duplicates == 1
    assert "1 images stand in more than one of the given splits" in fitted.warnings[0]


def test_without_validation_all_epochs_are_run(separable_set: str) -> None:
    fitted = fit(separable_set, options=replace(FAST, test=0, validation=0, max_epochs=3))
    assert (fitted.epochs, list(fitted.metrics), fitted.rows["train"]) == (3, ["train"], 120)


def test_fitting_stops_when_validation_gets_no_better(separable_set: str) -> None:
    fitted = fit(separable_set, options=replace(FAST, learning_rate=5.0, patience=2, max_epochs=60))
    assert len(fitted.history["val_loss"]) < 60
    assert fitted.epochs == int(np.argmin(fitted.history["val_loss"])) + 1


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_the_validation_loss_is_that_of_the_items_without_the_l2(separable_set: str, head: str) -> None:
    fitted = fit(separable_set, options=replace(FAST, head=head, c=1e-3, label_smoothing=0.1, mixup=0.2, max_epochs=3))
    kept = fitted.history["val_loss"][fitted.epochs - 1]
    assert kept == pytest.approx(fitted.metrics["validation"].to_dict()["log_loss"], rel=1e-4)  # measured before the refit


def test_a_stronger_l2_gives_smaller_weights(fitted: FittedHead, separable_set: str) -> None:
    def size(one: FittedHead) -> float:
        return float(np.square(keras.ops.convert_to_numpy(one.model.get_layer("logits").kernel)).sum())

    assert size(fit(separable_set, options=replace(FAST, c=1e-4))) < size(fitted)


def test_an_older_version_is_fitted_by_its_number(write_set: WriteSet, separable_rows: MakeRows) -> None:
    write_set(separable_rows())
    uri = write_set(separable_rows(classes=("coat", "hat")))
    assert fit(f"{uri}@1", options=EXACT).classes == ("coat", "hat", "shoe")
    assert fit(uri, options=EXACT).feature_set.version == 2


def test_the_summary_is_json_and_says_what_was_fitted(fitted: FittedHead, separable_set: str) -> None:
    said = json.loads(json.dumps(summary(fitted)))
    assert (said["set"], said["version"], said["classes"]) == (separable_set, 1, ["coat", "hat", "shoe"])
    assert said["metrics"]["test"]["accuracy"] > 0.95


def test_fit_is_in_the_package() -> None:
    assert trainer.fit is fit


# What is refused


def test_labels_that_fit_nothing_are_told(write_set: WriteSet, separable_rows: MakeRows, write_csv: WriteCsv) -> None:
    with pytest.raises(UsageError, match=r"none of the 1 labels in .* fits any of the 120 items"):
        fit(write_set(separable_rows()), write_csv(["key", "label"], ["000.jpg", "coat"]))


def test_items_without_labels_are_told(write_set: WriteSet, separable_rows: MakeRows) -> None:
    with pytest.raises(UsageError, match="carry no labels"):
        fit(write_set([replace(row, label=None) for row in separable_rows()]))


def test_one_class_is_not_enough(write_set: WriteSet, separable_rows: MakeRows) -> None:
    with pytest.raises(UsageError, match="all 40 labelled items have the label 'coat': a head needs at least two classes"):
        fit(write_set(separable_rows(classes=("coat",))))


def test_an_unknown_split_is_told(write_set: WriteSet, separable_rows: MakeRows, write_csv: WriteCsv) -> None:
    rows = separable_rows()
    path = write_csv(["key", "label", "split"], *[(row.key, row.label, "tets" if i == 4 else "train") for i, row in enumerate(rows)])
    with pytest.raises(UsageError, match=r"the label file .*labels\.csv, row 5: unknown split 'tets': expected train"):
        fit(write_set(rows), path)
    named = [replace(row, split="tets" if i == 4 else "train") for i, row in enumerate(rows)]
    with pytest.raises(UsageError, match=r"the item coat/004\.jpg of .*/team/named: unknown split 'tets'"):
        fit(write_set(named, "team/named"))


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (1e30, "120 items have features of up to .e\\+30: coat/000.jpg, .* and 115 more. Their squares exceed float32"),
        (1e-30, "no feature is larger than .e-30, and the squares of such are nothing in float32"),
    ],
)
def test_features_of_a_size_that_nothing_is_fitted_on_are_told(
    write_set: WriteSet, separable_rows: MakeRows, size: float, said: str
) -> None:
    rows = [replace(row, embedding=row.embedding * np.float32(size)) for row in separable_rows()]
    with pytest.raises(UsageError, match=said):
        fit(write_set(rows, dtype="float32"))


def test_a_class_missing_from_train_is_told(write_set: WriteSet, separable_rows: MakeRows) -> None:
    rows = [replace(row, split="test" if row.label == "hat" else "train") for row in separable_rows()]
    with pytest.raises(UsageError, match="the train split has no item of 'hat'"):
        fit(write_set(rows))


def test_a_set_that_is_not_there_is_told(write_set: WriteSet, separable_rows: MakeRows) -> None:
    uri = write_set(separable_rows())
    with pytest.raises(NotFoundError, match="no feature set"):
        fit(f"{uri}x")
    with pytest.raises(NotFoundError, match="has no version 9"):
        fit(f"{uri}@9")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_weights": "even"}, "class_weights must be 'balanced' or weights by class name, got 'even'"),
        ({"class_weights": {"hat": 0}}, "the weight of class 'hat' must be a number from 1e-06 to 1e\\+06, got 0"),
        ({"class_weights": {"hat": 1e30}}, "the weight of class 'hat' must be a number from"),
        ({"class_weights": {"hat": "2"}}, "'hat' of class_weights must be a number; got '2'"),
        ({"class_weights": [1, 2]}, r"class_weights must be a text or a dict of numbers by text or None; got \[1, 2\]"),
        ({"head": "mlp", "hidden": 128}, r"hidden must be a list of whole numbers; got 128"),
        ({"head": "mlp", "dropout": "0.5"}, "dropout must be a number; got '0.5'"),
        ({"learning_rate": -1}, "learning_rate must be from"),
        ({"test": 1.0}, "test must be from 0 to 0.9"),
        ({"validation": -0.1}, "validation must be from 0 to 0.9"),
        ({"batch_size": 0}, "batch_size must be from 1 to"),
        ({"max_epochs": 0}, "max_epochs must be from 1 to"),
        ({"patience": 0}, "patience must be from 1 to"),
        ({"seed": -1}, "seed must be from 0"),
        ({"seed": 2**31}, "seed must be from 0"),
    ],
)
def test_options_out_of_range_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        FitOptions(**options)
