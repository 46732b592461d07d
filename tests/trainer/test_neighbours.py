"""The knn head: neighbours that are those of scikit-learn, wherever the features lie."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pytest

from storage.errors import UsageError
from tests.trainer.test_exact_fits import fit_data, parts
from tests.trainer.test_logistic import made
from trainer import neighbours
from trainer.neighbours import NearestNeighbours, NeighboursFit

pytest.importorskip("sklearn")
from sklearn.neighbors import KNeighborsClassifier

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("metric", "k"), [("cosine", 1), ("euclid", 4)])
def test_neighbours_are_those_of_scikit_learn(metric: str, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_SCORES", 7 * neighbours.BATCH)  # several blocks of the bank
    x, y = made(120, 4)
    train, validation = parts(120)
    model = NeighboursFit(fit_data(x, y, head="knn", k=k, metric=metric)).with_validation(train, np.arange(0)).model
    theirs = KNeighborsClassifier(k, metric={"euclid": "euclidean"}.get(metric, metric)).fit(x[train], y[train])
    np.testing.assert_allclose(np.asarray(model.predict_on_batch(x[validation])), theirs.predict_proba(x[validation]), atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclid"])
@pytest.mark.parametrize(("mean", "spread"), [(0, 1), (30, 1), (300, 1), (3000, 1), (10, 0.01)])
def test_neighbours_far_off_zero_are_those_of_scikit_learn(metric: str, mean: float, spread: float) -> None:
    random = np.random.default_rng(0)
    y = np.arange(2000) % 4
    x = (spread * (random.standard_normal((2000, 64)) + 0.6 * random.standard_normal((4, 64))[y]) + mean).astype(np.float32)
    train, test = np.arange(1500), np.arange(1500, 2000)
    model = NeighboursFit(fit_data(x, y, head="knn", k=5, metric=metric)).with_validation(train, np.arange(0)).model
    name = {"euclid": "euclidean"}.get(metric, metric)
    theirs = KNeighborsClassifier(5, metric=name).fit(x[train].astype(np.float64), y[train]).predict_proba(x[test].astype(np.float64))
    np.testing.assert_allclose(np.asarray(model.predict_on_batch(x[test])), theirs, atol=1e-6)


def nearest_of(bank: npt.NDArray[np.float32], x: npt.NDArray[np.float32], metric: str, k: int) -> npt.NDArray[np.int64]:
    data = fit_data(bank, np.arange(len(bank)) % 2, head="knn", k=k, metric=metric)
    model = NeighboursFit(data).with_validation(np.arange(len(bank)), np.arange(0)).model
    assert model is not None
    layer = model.layers[-1]
    assert isinstance(layer, NearestNeighbours)
    return np.asarray(layer.nearest(x, k))


def test_a_vector_of_length_0_is_at_right_angles_to_all() -> None:
    bank = np.array([[0, 0, 0], [4, 1, 4], [-4, 0, 1], [3, 1, 4], [-4, -4, -1]], np.float32)
    np.testing.assert_array_equal(nearest_of(bank, np.array([[4, 0, 4]], np.float32), "cosine", 5), [[1, 3, 0, 2, 4]])


def test_of_whole_numbers_equally_near_ones_come_in_their_order() -> None:
    bank = np.random.default_rng(0).integers(1000, 1004, (300, 6)).astype(np.float32)
    x = bank[:100] + 1
    distances = ((x[:, None] - bank) ** 2).sum(axis=2)
    np.testing.assert_array_equal(nearest_of(bank, x, "euclid", 20), np.argsort(distances, axis=1, kind="stable")[:, :20])


@pytest.mark.parametrize("metric", ["cosine", "euclid"])
def test_a_head_that_was_kept_without_a_centre_answers_as_it_did(metric: str, tmp_path: Path) -> None:
    x, y = made(60, 3)
    config = {"name": "probabilities", "kept": 40, "width": x.shape[1], "classes": 3, "k": 5, "metric": metric, "stored": "float32"}
    layer = NearestNeighbours.from_config(config)
    layer.set_weights([x[:40], np.eye(3, dtype=np.uint8)[y[:40]]])
    inputs = keras.Input(x.shape[1:])
    keras.Model(inputs, layer(inputs)).save(tmp_path / "head.keras")
    answers = keras.models.load_model(tmp_path / "head.keras", compile=False, safe_mode=True).predict_on_batch(x[40:])
    theirs = KNeighborsClassifier(5, metric={"euclid": "euclidean"}.get(metric, metric)).fit(x[:40], y[:40])
    np.testing.assert_allclose(answers, theirs.predict_proba(x[40:]), atol=1e-6)


def test_neighbours_vote_for_any_number_of_classes() -> None:
    x, y = made(60, 4)
    has = np.stack([y > 0, y > 1, y == 2], 1).astype(np.uint8)
    model = NeighboursFit(fit_data(x, has, head="knn", k=5, multi_label=True)).with_validation(np.arange(40), np.arange(0)).model
    theirs = KNeighborsClassifier(5, metric="cosine").fit(x[:40], has[:40]).predict_proba(x[40:])
    np.testing.assert_allclose(np.asarray(model.predict_on_batch(x[40:])), np.stack([p[:, 1] for p in theirs], 1), atol=1e-6)


def test_validation_chooses_k_and_the_features_stay_in_their_dtype() -> None:
    x, y = made(100, 3)
    train, validation = parts(100)
    first = NeighboursFit(fit_data((x / 10).astype(np.float16), y, head="knn")).with_validation(train, validation)
    assert first.chosen["k"] in first.path["k"]
    assert min(first.path["val_error"]) == first.path["val_error"][first.path["k"].index(first.chosen["k"])]
    layer = first.model.layers[-1]
    assert isinstance(layer, NearestNeighbours)
    assert layer.bank.numpy().dtype == np.float16


def test_where_all_k_err_alike_the_most_sensible_shares_decide() -> None:
    """Of features that are all equal one neighbour is as often wrong as twenty, and is certain each time."""
    y = np.arange(100) // 2 % 2
    first = NeighboursFit(fit_data(np.zeros((100, 3), np.float32), y, head="knn")).with_validation(*parts(100))
    assert len(set(first.path["val_error"])) == 1
    assert first.chosen["k"] >= 10


def test_more_neighbours_than_items_are_refused() -> None:
    x, y = made(20, 2)
    with pytest.raises(UsageError, match="k must be at most the number of training items, 15; got 50"):
        NeighboursFit(fit_data(x, y, head="knn", k=50)).with_validation(*parts(20))
