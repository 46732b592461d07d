"""What holds for every head and every pooling of maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.trainer.conftest import Row, write_set_to
from trainer.fit import fit
from trainer.head_folder import load_head, save_head
from trainer.heads import HEADS
from trainer.map_pooling import MAP_POOLINGS
from trainer.options import FitOptions

pytestmark = pytest.mark.slow
FAST = FitOptions(learning_rate=0.03, max_epochs=12, batch_size=64)
# Vectors with every head, every pooling with one.
CASES = [
    *((name, "", (8,), "float16" if number % 2 else "float32") for number, name in enumerate(HEADS)),
    *(("mlp" if pooling == "flatten" else "linear", pooling, (2, 3, 8), "float16") for pooling in MAP_POOLINGS),
    ("logistic", "flatten", (2, 3, 8), "float16"),
    ("ridge", "max", (2, 3, 8), "float32"),
    ("knn", "avg", (2, 3, 8), "float16"),
]
LIKE_THEM = [("mlp", "attention", (4, 8), "float32")]


@pytest.mark.parametrize(
    ("name", "pooling", "shape", "dtype"), [*CASES, *(pytest.param(*case, marks=pytest.mark.full) for case in LIKE_THEM)]
)
def test_a_head_learns_keeps_and_predicts(
    write_set: Callable[..., str],
    separable_rows: Callable[..., list[Any]],
    tmp_path: Path,
    name: str,
    pooling: str,
    shape: tuple[int, ...],
    dtype: str,
) -> None:
    rows = separable_rows(20, shape)
    options = FAST if HEADS[name].build else FitOptions()  # the others have no learning rate
    fitted = fit(write_set(rows, dtype=dtype), options=replace(options, head=name, map=pooling))
    assert fitted.metrics["test"].accuracy > 0.9  # type: ignore[union-attr]
    assert fitted.model.input_shape == (None, *shape)
    save_head(fitted, tmp_path / "head")
    features = np.stack([row.embedding for row in rows]).astype(dtype)
    head = load_head(tmp_path / "head")
    probabilities = head.predict(features)
    np.testing.assert_array_equal(probabilities, fitted.model.predict_on_batch(features.astype(np.float32)))
    np.testing.assert_allclose(head.predict(features[:1]), probabilities[:1], atol=1e-6)
    assert head.predict(features[:0]).shape == (0, 3)


@pytest.mark.parametrize("name", HEADS)
def test_of_few_shots_the_kept_head_has_learned_from_train_alone(write_set: Callable[..., str], name: str) -> None:
    """Where nothing was left open, it is the head that validation was measured on."""
    random = np.random.default_rng(0)
    splits = ["train", "train", "validation", "validation", "test"] * 6
    rows = [Row(f"{i:02d}", random.normal(0, 1, 4).astype(np.float16), "ab"[i % 2], split) for i, split in enumerate(splits)]
    strength: dict[str, Any] = {"logistic": {"c": 0.1}, "ridge": {"alpha": 1.0}, "knn": {"k": 1}}.get(name, {})
    steps: dict[str, Any] = {"max_epochs": 1} if HEADS[name].build else {}
    fitted = fit(write_set(rows), options=FitOptions(head=name, shots=3, **strength, **steps))
    assert fitted.rows == {"train": 6, "validation": 12, "test": 6}
    x = np.stack([rows[i].embedding for i in fitted.positions["validation"]]).astype(np.float32)
    measured = fitted.metrics["validation"].outcomes.probabilities  # type: ignore[union-attr]
    np.testing.assert_allclose(fitted.model.predict_on_batch(x), measured, atol=1e-4)


def test_the_same_seed_gives_the_same_mlp_with_dropout(separable_set: str) -> None:
    options = replace(FAST, head="mlp", hidden=(16,), dropout=0.5, max_epochs=3, validation=0)
    one, two, other = (fit(separable_set, options=replace(options, seed=seed)) for seed in (0, 0, 1))
    assert one.history == two.history != other.history
    for a, b in zip(one.model.weights, two.model.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))


def test_class_weights_find_more_of_a_rare_class(write_set: Callable[..., str]) -> None:
    """One feature, overlapping classes, nine to one: unweighted, the rare class is hardly ever worth predicting."""

    random = np.random.default_rng(0)
    labels = ["common"] * 180 + ["rare"] * 20
    rows = [Row(f"{i}.jpg", random.normal(2.0 * (name == "rare"), 1.5, 2).astype(np.float32), name) for i, name in enumerate(labels)]
    uri = write_set(rows)
    options = replace(FAST, c=1.0, validation=0, test=0, max_epochs=40)
    recall = {
        str(weights): fit(uri, options=replace(options, class_weights=weights)).metrics["train"].recall[1]
        for weights in (None, "balanced", {"rare": 9.0})
    }
    assert recall["balanced"] > recall["None"] + 0.2
    assert recall["{'rare': 9.0}"] == pytest.approx(recall["balanced"], abs=0.1)  # 9 to 1 is what balances them


# Many classes an item


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> str:
    """240 items with the classes `big`, `red`, both or neither, each seen in a feature of its own."""

    random = np.random.default_rng(0)
    rows = []
    for i in range(240):
        has = {"big": i % 2 == 0, "red": i % 3 == 0}
        vector = random.normal(0, 0.3, 4) + np.array([3 * has["big"], 3 * has["red"], 0, 0])
        rows.append(Row(f"{i:03d}.jpg", vector.astype(np.float32), "|".join(name for name in has if has[name]) or "|"))
    return write_set_to(f"{tmp_path_factory.mktemp('store')}/team/tagged", rows)


@pytest.mark.parametrize(
    "options",
    [
        replace(FAST, class_weights="balanced"),
        FitOptions("logistic", class_weights="balanced"),
        FitOptions("ridge"),
        FitOptions("knn", metric="euclid"),
    ],
    ids=lambda options: options.head,
)
def test_any_number_of_classes_is_learned_and_kept(tagged: str, tmp_path: Path, options: FitOptions) -> None:
    fitted = fit(tagged, options=replace(options, multi_label=True))
    assert fitted.classes == ("big", "red")
    test = fitted.metrics["test"]
    assert (test.mean_average_precision > 0.95, test.micro_f1 > 0.95) == (True, True)  # type: ignore[union-attr]
    assert sum(fitted.rows.values()) == 240  # those without any class too
    save_head(fitted, tmp_path / "head")
    head = load_head(tmp_path / "head")
    vectors = np.array([[3, 3, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0]], np.float16)
    assert [sorted(chosen) for chosen in head.task.chosen(head.predict(vectors))] == [[0, 1], [0], []]
