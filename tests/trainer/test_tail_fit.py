from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from storage.errors import UsageError
from trainer.fit import fit
from trainer.fitted import FittedHead, summary
from trainer.head_folder import load_head, save_head
from trainer.options import FitOptions
from trainer.prepared import prepare
from trainer.tail_fit import TailFit
from trainer.tails import Tail

FAST = FitOptions(learning_rate=0.01, tail_learning_rate=0.003, max_epochs=6, patience=3, batch_size=32)
SHAPE = (4, 4, 3)


def make_tail(seed: int = 0) -> Tail:
    """Convolution, BatchNorm, ReLU, from maps to maps; statistics of BatchNorm that no batch has."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(SHAPE)
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(6, 3, name="conv")(inputs))
    model = keras.Model(inputs, keras.layers.ReLU()(x))
    model.get_layer("norm").moving_mean.assign([1.0, 2.0, 3.0, 0.0, 0.0, 0.0])
    return Tail(model, {"cut": "somewhere", "parameters": 10, "parameters_behind": 192})


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, separable_rows: Callable[..., list[Any]]) -> str:
    from tests.trainer.conftest import write_set_to

    return write_set_to(f"{tmp_path_factory.mktemp('store')}/team/maps", separable_rows(24, SHAPE), "float32")


@pytest.fixture(scope="module")
def fitted(uri: str) -> FittedHead:
    return fit(uri, options=FAST, tail=make_tail())


@pytest.mark.slow
def test_a_tail_is_trained_with_its_head_and_kept_as_one_model(fitted: FittedHead, tmp_path: Path) -> None:
    tail = make_tail()
    assert (fitted.strategy, fitted.frozen["cut"], fitted.options.map, fitted.options.tail_learning_rate) == (
        "hybrid",
        "somewhere",
        "avg",
        0.003,
    )
    assert fitted.metrics["test"].accuracy > 0.8  # type: ignore[union-attr]
    assert (fitted.model.input_shape, fitted.model.output_shape) == ((None, *SHAPE), (None, 3))
    trained = next(layer for layer in fitted.model.layers if isinstance(layer, keras.Model))
    before, after = (np.asarray(model.get_layer("conv").kernel) for model in (tail.model, trained))
    assert fitted.epochs > 0
    assert np.abs(before - after).max() > 1e-4
    for name in ("moving_mean", "moving_variance", "gamma"):  # frozen, though `fit` trains
        before, after = (np.asarray(getattr(model.get_layer("norm"), name)) for model in (tail.model, trained))
        np.testing.assert_array_equal(before, after)
    save_head(fitted, tmp_path / "head")
    head = load_head(tmp_path / "head")
    assert (head.description["strategy"], head.description["frozen"]) == ("hybrid", fitted.frozen)
    x = np.random.default_rng(0).normal(size=(5, *SHAPE)).astype(np.float32)
    np.testing.assert_allclose(head.predict(x), fitted.model.predict_on_batch(x), atol=1e-6)
    assert set(summary(fitted)["chosen"]) == {"head_epochs"}


@pytest.mark.slow
def test_the_validation_loss_is_that_of_the_items_without_the_l2(fitted: FittedHead) -> None:
    kept = fitted.history["val_loss"][fitted.epochs - 1]
    assert kept == pytest.approx(fitted.metrics["validation"].to_dict()["log_loss"], rel=1e-4)  # measured before the refit


@pytest.mark.slow
def test_batches_from_the_store_give_the_same_head(fitted: FittedHead, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.prepared.STREAMED_BYTES", 0)
    streamed = fit(uri, options=FAST, tail=make_tail())
    for a, b in zip(fitted.model.weights, streamed.model.weights, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-6)
    assert fitted.history["val_loss"] == pytest.approx(streamed.history["val_loss"])


@pytest.mark.slow
def test_items_of_several_classes_are_learned(
    write_set: Callable[..., str], separable_rows: Callable[..., list[Any]], write_csv: Any
) -> None:
    rows = separable_rows(10, SHAPE)
    labels = write_csv(["key", "label"], *[(row.key, f"{row.label}|all") for row in rows])
    options = replace(FAST, multi_label=True, max_epochs=1, patience=1, label_smoothing=0.1, mixup=0.2, train_batch_norm=True)
    fitted = fit(write_set(rows, dtype="float32"), labels, options, tail=make_tail())
    assert (fitted.model.output_shape, list(fitted.history)) == ((None, 4), ["loss", "val_loss"])


@pytest.mark.full
def test_a_tail_that_only_gets_worse_is_left_alone(write_set: Callable[..., str], separable_rows: Callable[..., list[Any]]) -> None:
    rows = [replace(row, label="abc"[i * 7 % 3]) for i, row in enumerate(separable_rows(24, SHAPE))]  # there is nothing to learn
    options = replace(FAST, learning_rate=1e-4, tail_learning_rate=10.0, patience=1)
    assert fit(write_set(rows, dtype="float32"), options=options, tail=make_tail()).epochs == 0


@pytest.mark.parametrize(
    ("options", "tail", "words"),
    [
        (FitOptions("ridge"), make_tail(), "the ridge head is found exactly, and a tail is trained in steps"),
        (FitOptions(tail_learning_rate=0.1), None, "options of the strategy hybrid"),
        (
            FitOptions(batch_size=1_000_000),
            make_tail(),
            r"a batch of 72 does not fit in memory: it takes about .* Try (--batch-size|a cut)",
        ),
    ],
)
def test_what_does_not_go_is_refused(uri: str, options: FitOptions, tail: Tail | None, words: str) -> None:
    if tail and options.batch_size:
        inputs = keras.Input(SHAPE)
        wide = keras.layers.Conv2D(65536, 1)(keras.layers.UpSampling2D(32)(inputs))
        tail = replace(tail, model=keras.Model(inputs, keras.layers.Conv2D(2, 1)(wide)))
    with pytest.raises(UsageError, match=words):
        fit(uri, options=options, tail=tail)


def test_a_batch_is_of_all_items_at_most(uri: str) -> None:
    prepared = prepare(uri, None, FitOptions(batch_size=100_000), make_tail())
    assert TailFit(prepared.labelled, prepared.data, make_tail()).training.batch_size == 72


def test_features_of_another_shape_are_refused(separable_set: str) -> None:
    with pytest.raises(UsageError, match=r"the tail takes features of \(4, 4, 3\) and .*team/set has \(8,\)"):
        fit(separable_set, options=FAST, tail=make_tail())
