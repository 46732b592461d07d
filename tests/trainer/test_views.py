"""Training on sets with views: a view at random for each item and epoch, view 0 for everything that measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import storage
from storage.errors import UsageError
from trainer.evaluate_set import evaluate_head
from trainer.features import read_labelled
from trainer.fit import fit
from trainer.fitted import FittedHead
from trainer.head_folder import load_head, save_head
from trainer.labels import labels_for
from trainer.options import FitOptions
from trainer.task import task_of

FAST = FitOptions(learning_rate=0.03, max_epochs=12, batch_size=64)

Rows = list[Any]
MakeRows = Callable[..., Rows]
WriteSet = Callable[..., str]


def viewed(rows: Rows, views: int = 2) -> Rows:
    """Further views that are shifted along features 8 and 9, which are constant in view 0 and belong to no class."""
    random = np.random.default_rng(1)

    def wide(embedding: Any, shift: Any) -> Any:
        return np.concatenate([embedding, shift]).astype(np.float32)

    return [
        replace(
            row,
            embedding=wide(row.embedding, [0, 0]),
            views=tuple(wide(row.embedding, random.normal(0, 3, 2)) for _ in range(views)),
        )
        for row in rows
    ]


@pytest.fixture(scope="module")
def rows(separable_rows: MakeRows) -> Rows:
    return viewed(separable_rows())


def weights(fitted: FittedHead) -> list[Any]:
    return [keras.ops.convert_to_numpy(weight) for weight in fitted.model.weights]


def test_features_are_read_with_all_views_or_with_view_0(write_set: WriteSet, rows: Rows) -> None:
    feature_set = storage.open(write_set(rows))
    labels = labels_for(feature_set, None, False)
    keys, embeddings = feature_set.to_numpy(view=None)
    for views, expected in (("random", embeddings.reshape(-1, 10)), ("plain", embeddings[:, 0])):
        data = read_labelled(feature_set, labels, task_of(False), views)
        assert (data.views, len(data.y)) == (len(data.features) // len(keys), 120)
        np.testing.assert_array_equal(data.features, expected)


@pytest.mark.slow
def test_training_sees_the_views_and_measuring_does_not(write_set: WriteSet, rows: Rows, tmp_path: Path) -> None:
    uri = write_set(rows)
    fitted, again, plain = fit(uri, options=FAST), fit(uri, options=FAST), fit(uri, options=replace(FAST, views="plain"))
    assert all((a == b).all() for a, b in zip(weights(fitted), weights(again), strict=True))
    assert fitted.history == again.history
    assert fitted.history["loss"] != plain.history["loss"]
    # Mean and spread are those of all views: features 8 and 9 are constant, and so left alone, in view 0 only.
    spread = {name: np.sqrt(weights(head)[1][8:10]) for name, head in (("views", fitted), ("plain", plain))}
    assert np.abs(spread["views"] - 3 * np.sqrt(2 / 3)).max() < 0.5
    assert spread["plain"].tolist() == [1, 1]
    assert fitted.rows == plain.rows == {"train": 81, "validation": 15, "test": 24}
    assert fitted.metrics["test"].support.sum() == 24
    assert {fitted.metrics["test"].accuracy, plain.metrics["test"].accuracy} == {1.0}

    save_head(fitted, tmp_path / "head")
    head = load_head(tmp_path / "head")
    assert head.space == storage.open(uri).space.plain
    assert "views" not in head.backbone
    without = write_set([replace(row, views=()) for row in rows], "team/plain")
    results = [evaluate_head(head, name).evaluation.to_dict() for name in (uri, without)]
    assert results[0] == results[1]


@pytest.mark.slow
def test_a_set_without_views_is_learned_alike_either_way(separable_set: str) -> None:
    random, plain = (fit(separable_set, options=replace(FAST, max_epochs=3, views=views)) for views in ("random", "plain"))
    assert all((a == b).all() for a, b in zip(weights(random), weights(plain), strict=True))


def test_an_unknown_way_with_views_is_refused() -> None:
    with pytest.raises(UsageError, match="views must be one of random, plain; got 'all'"):
        FitOptions(views="all")
