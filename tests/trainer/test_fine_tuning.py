"""Fine-tuning: what it starts from, what it trains when, that it goes on after a kill, on several devices, with little memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from storage.errors import DivergedError, SpaceMismatchError, UsageError
from tests.trainer.coloured import Coloured, MemoryImages, coloured, weights_of
from trainer.fine_tuning import _check_start, fine_tune
from trainer.fine_tuning_options import FineTuningOptions
from trainer.fitted import FittedHead
from trainer.head_folder import load_head, save_head
from trainer.image_training import Told
from trainer.memory import require_room
from trainer.network_depth import weighted_layers
from trainer.options import FitOptions
from trainer.prepared import prepare

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
STAGED: dict[str, Any] = {"stages": (0, 1), "max_epochs": 3, "weight_decay": 0.01, "label_smoothing": 0.1}


@pytest.fixture(scope="module")
def set_of_colours(tmp_path_factory: pytest.TempPathFactory) -> Coloured:
    return coloured(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def tuned(set_of_colours: Coloured, tmp_path_factory: pytest.TempPathFactory) -> FittedHead:
    return set_of_colours.tune(tmp_path_factory.mktemp("run") / "state", **STAGED)


def by_name(model: keras.Model) -> dict[str, list[Any]]:
    return {layer.name: [np.asarray(weight) for weight in layer.weights] for layer in weighted_layers(model)}


def test_all_layers_are_trained_but_batch_norm_stays_as_it_was(set_of_colours: Coloured, tuned: FittedHead) -> None:
    before, after = by_name(set_of_colours.network.model), by_name(tuned.model)
    for name in ("first", "second"):
        assert all(np.abs(a - b).max() > 1e-4 for a, b in zip(before[name], after[name], strict=True)), name
    for a, b in zip(before["norm"], after["norm"], strict=True):
        np.testing.assert_array_equal(a, b)


def test_batch_norm_trains_if_asked_but_what_standardises_for_the_head_does_not(set_of_colours: Coloured, tmp_path: Path) -> None:
    """A feature that is constant in a batch, as a dead ReLU's, would be divided by zero there."""
    before = by_name(set_of_colours.network.model)["norm"]
    tuned = by_name(set_of_colours.tune(tmp_path / "state", stages=(), max_epochs=1, train_batch_norm=True).model)
    assert all(np.abs(a - b).max() > 0 for a, b in zip(before, tuned["norm"], strict=True))
    frozen = by_name(set_of_colours.tune(tmp_path / "frozen", stages=(), max_epochs=1).model)
    for a, b in zip(frozen["standardise"], tuned["standardise"], strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_starts_from_the_head_that_cached_features_gave(tuned: FittedHead) -> None:
    from trainer.fit import fit

    head = fit(str(tuned.feature_set.name), options=FitOptions("logistic", c=1.0))  # measured on validation before its refit
    assert tuned.history["start_val_loss"][0] == pytest.approx(head.metrics["validation"].log_loss, rel=1e-4)  # not smoothed
    assert (head.tested, head.rows) == (tuned.tested, tuned.rows)  # so that both stand in one table
    assert tuned.metrics["test"].to_dict().keys() == head.metrics["test"].to_dict().keys()


@pytest.mark.parametrize("options", [FitOptions("logistic"), FitOptions("ridge"), FitOptions("linear", max_epochs=5)], ids=lambda o: o.head)
def test_what_a_head_that_was_fitted_first_chose_is_kept_and_gives_it_again(
    set_of_colours: Coloured, tmp_path: Path, options: FitOptions
) -> None:
    """It is not written itself."""
    from trainer.fit import fit

    tuning = FineTuningOptions(batch_size=8, groups=1, stages=(1,), max_epochs=1)
    tuned = fine_tune(set_of_colours.uri, None, set_of_colours.images, set_of_colours.network, options, tuning, tmp_path / "state")
    save_head(tuned, tmp_path / "head")
    start = json.loads((tmp_path / "head" / "head.json").read_text())["frozen"]["start"]
    head = fit(set_of_colours.uri, options=options)
    assert (start["chosen"], start["path"]) == ({**head.chosen, **({"epochs": head.epochs} if head.epochs else {})}, head.path)
    assert start["chosen"]


def test_the_validation_loss_is_that_of_the_items_without_the_l2_of_the_head(set_of_colours: Coloured, tmp_path: Path) -> None:
    fit, tuning = FitOptions("linear", c=0.01, max_epochs=2), FineTuningOptions(batch_size=8, stages=(1,), groups=1, max_epochs=2)
    tuned = fine_tune(set_of_colours.uri, None, set_of_colours.images, set_of_colours.network, fit, tuning, tmp_path / "state")
    kept = tuned.history["val_loss"][tuned.epochs - 1]
    assert kept == pytest.approx(tuned.metrics["validation"].to_dict()["log_loss"], rel=1e-4)


def test_the_head_says_what_was_frozen_and_is_loaded_as_one_of_images(tuned: FittedHead, set_of_colours: Coloured, tmp_path: Path) -> None:
    save_head(tuned, tmp_path / "head")
    described = json.loads((tmp_path / "head" / "head.json").read_text())
    assert (described["strategy"], described["feature_shape"]) == ("fine-tuning", [8, 8, 3])
    assert [stage["frozen"] for stage in described["frozen"]["stages"]] == [[1, 2], [2], []]
    assert [group["learning_rate"] for group in described["frozen"]["groups"]] == [0.005, 0.0025]
    head = load_head(tmp_path / "head")
    assert head.space.is_pixels
    pixels = set_of_colours.images.pixels
    np.testing.assert_allclose(head.predict(pixels), tuned.model.predict_on_batch(pixels), atol=1e-6)
    with pytest.raises(SpaceMismatchError, match="reads images"):
        head.require_space_of(tuned.feature_set)
    assert described["frozen"]["groups_trained"] == 2
    # It is no head to start from, whatever its options are.
    head = replace(head, description={**described, "options": {**described["options"], "map": "avg"}})
    with pytest.raises(SpaceMismatchError, match="different feature spaces"):
        fine_tune(
            set_of_colours.uri, None, set_of_colours.images, set_of_colours.network, FitOptions(), FineTuningOptions(), tmp_path, head
        )


def test_a_head_that_was_fitted_on_validation_too_is_not_said_to_be_the_one_to_keep(set_of_colours: Coloured, tmp_path: Path) -> None:
    from trainer.fit import fit

    save_head(fit(set_of_colours.uri, options=FitOptions("logistic", c=1.0)), tmp_path / "cached")
    tuning = FineTuningOptions(batch_size=8, groups=2, stages=(), max_epochs=1, learning_rate=1.0)  # far too fast
    images, network, start = set_of_colours.images, set_of_colours.network, load_head(tmp_path / "cached")
    tuned = fine_tune(set_of_colours.uri, None, images, network, FitOptions(), tuning, tmp_path / "state", start)
    assert tuned.history["val_loss"][0] > tuned.history["start_val_loss"][0]
    [said] = [warning for warning in tuned.warnings if "validation loss" in warning]
    assert f"which tells nothing, as {tmp_path}/cached was fitted on the validation items: `permafrost evaluate` of both" in said


@pytest.mark.parametrize(
    ("start", "now", "sure", "note"),
    [
        ({}, {}, True, "was fitted on the validation items as well"),
        ({}, {"shots": 3}, True, "was fitted on the validation items as well"),
        ({"shots": 3}, {}, False, ""),
        ({"shots": 3}, {"shots": 3}, False, ""),
        ({"validation": 0.0}, {}, True, "was fitted on the validation items as well"),
        ({}, {"validation": 0.0}, False, ""),
        ({"seed": 1}, {}, False, "was tested on other items: it may have been fitted on what is tested here"),
    ],
)
def test_what_a_start_has_seen_is_told_by_how_it_was_fitted(
    set_of_colours: Coloured, tmp_path: Path, start: dict[str, Any], now: dict[str, Any], sure: bool, note: str
) -> None:
    from trainer.fit import fit

    save_head(fit(set_of_colours.uri, options=FitOptions("class-mean", **start)), tmp_path / "head")
    prepared = prepare(set_of_colours.uri, None, FitOptions("class-mean", **now))
    seen = _check_start(prepared, load_head(tmp_path / "head"))
    assert (seen.sure, note in seen.note, bool(seen.note)) == (sure, True, bool(note))


def test_patience_opens_the_next_stage_and_a_run_that_was_stopped_there_ends_as_one_that_was_not(
    set_of_colours: Coloured, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, total: int) -> None:
        if done == 5:  # of two steps an epoch: within the third one, which begins with the weights of the first
            raise Killed

    options: dict[str, Any] = {**STAGED, "stages": (3,), "patience": 1}
    notes: list[str] = []
    whole = set_of_colours.tune(tmp_path / "whole", Told(note=notes.append), **options)
    assert whole.frozen["groups_by_epoch"] == [0, 0, 2]
    assert whole.frozen["stages"] == [
        {"epochs": 3, "epochs_trained": 2, "trained": ["head"], "frozen": [1, 2]},
        {"epochs": None, "epochs_trained": 1, "trained": ["head", 1, 2], "frozen": []},
    ]
    assert whole.frozen["groups_trained"] == whole.frozen["groups_by_epoch"][whole.epochs - 1]
    assert [re.findall(r"from epoch (\d) on (.*) and the head .* of epoch (\d)", note) for note in notes] == [
        [("3", "the whole network", "1")]
    ]
    with pytest.raises(Killed):
        set_of_colours.tune(tmp_path / "state", Told(kill), **options)
    notes.clear()
    again = set_of_colours.tune(tmp_path / "state", Told(note=notes.append), **options)
    assert "goes on after epoch 2" in notes[0]
    for name, curve in whole.history.items():
        np.testing.assert_allclose(again.history[name], curve, rtol=1e-4, err_msg=name)
    for a, b in zip(weights_of(again), weights_of(whole), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    set_of_colours.images.asked.clear()
    set_of_colours.tune(tmp_path / "state", Told(note=notes.append), **options)  # killed before the head was written: nothing is trained
    assert len(set_of_colours.images.asked) == 3  # measured


@pytest.mark.slow  # a program of its own
def test_two_devices_give_what_one_gives(set_of_colours: Coloured, tmp_path: Path) -> None:
    one = set_of_colours.tune(tmp_path / "one", stages=(), max_epochs=2)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-m", "tests.trainer.coloured", str(tmp_path)], cwd=ROOT, env=environment, check=True, timeout=250)
    with np.load(tmp_path / "two.npz") as two:
        assert two["devices"] == 2
        np.testing.assert_allclose(two["losses"], one.history["loss"], rtol=1e-5)
        for i, weight in enumerate(weights_of(one)):
            np.testing.assert_allclose(two[f"arr_{i}"], weight, atol=1e-5)


@keras.saving.register_keras_serializable("tests")
class Diverging(keras.layers.Layer):  # type: ignore[misc]
    """Gives no numbers while a network is trained."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        return x * (np.nan if training else 1.0)


def test_training_that_comes_to_no_numbers_failed_and_what_could_be_at_fault_is_named(tmp_path: Path) -> None:
    diverging = coloured(tmp_path / "store", Diverging())
    with pytest.raises(DivergedError, match=r"in epoch 1: .* Try a smaller --learning-rate$") as told:
        diverging.tune(tmp_path / "state", stages=(), max_epochs=1)
    assert not isinstance(told.value, UsageError)  # the request was right, so that it is no wrong usage
    both = "--learning-rate, or --precision float32 instead of bfloat16, or training without --train-batch-norm$"
    with pytest.raises(DivergedError, match=both):
        diverging.tune(tmp_path / "other", stages=(), max_epochs=1, precision="bfloat16", train_batch_norm=True)


@keras.saving.register_keras_serializable("tests")
class SmallMemory(keras.layers.Layer):  # type: ignore[misc]
    """Runs out of memory above so many images at a time: what TensorFlow makes of Python's MemoryError is what a GPU says."""

    def __init__(self, most: int, **options: Any) -> None:
        super().__init__(**options)
        self.most = most

    def call(self, x: Any, training: bool | None = None) -> Any:
        def take(n: Any) -> Any:
            if n > self.most:
                raise MemoryError
            return n

        with tf.control_dependencies([tf.numpy_function(take, [tf.shape(x)[0]], tf.int32)] if training else []):
            return tf.identity(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "most": self.most}


@pytest.mark.full  # three runs
def test_a_batch_that_does_not_fit_is_halved_or_refused(tmp_path: Path) -> None:
    notes: list[str] = []
    small = coloured(tmp_path / "store", SmallMemory(4))
    head = small.tune(tmp_path / "state", Told(note=notes.append), stages=(), max_epochs=2)
    assert notes == ["a batch of 8 images does not fit in memory: 4 from here on"]
    assert (head.frozen["options"]["batch_size"], len(head.history["loss"])) == (4, 2)
    none = coloured(tmp_path / "none", SmallMemory(0))
    with pytest.raises(UsageError, match="not enough memory to train this network on 1 images"):
        none.tune(tmp_path / "other", stages=(), max_epochs=1)


def test_more_memory_than_the_machine_has_is_refused_before_the_work(set_of_colours: Coloured) -> None:
    with pytest.raises(UsageError, match=r"a batch of 1000000000 .* about .* GiB .* Try --batch-size \d+, or another"):
        require_room(set_of_colours.network.model, 10**9, "another")
    inputs = keras.Input((1 << 20, 1 << 20, 64))
    with pytest.raises(UsageError, match=r"are free\. Try another$"):  # as not even one fits
        require_room(keras.Model(inputs, keras.layers.ReLU()(inputs)), 1, "another")


def test_a_batch_that_does_not_fit_is_refused_before_a_head_is_fitted_and_images_are_read(
    set_of_colours: Coloured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_early(*_: Any) -> None:
        raise AssertionError("the room comes first")

    monkeypatch.setattr("trainer.memory.available_bytes", lambda: 1000)
    monkeypatch.setattr("trainer.fine_tuning._warm_head", too_early)
    monkeypatch.setattr(MemoryImages, "prepare", too_early)
    with pytest.raises(UsageError, match="a batch of 8 does not fit in memory"):
        set_of_colours.tune(tmp_path / "state")


@pytest.mark.full  # another run; its options are tested beside
def test_mixed_precision_gives_a_head_in_float32(set_of_colours: Coloured, tmp_path: Path) -> None:
    head = set_of_colours.tune(tmp_path / "state", stages=(), max_epochs=1, precision="float16", train_batch_norm=True)
    assert {layer.dtype_policy.name for layer in weighted_layers(head.model)} == {"float32"}
    before, after = by_name(set_of_colours.network.model)["norm"], by_name(head.model)["norm"]
    assert all(np.abs(a - b).max() > 0 for a, b in zip(before, after, strict=True))  # asked for: scales and statistics have moved


def test_groups_without_layers_and_a_failure_to_read_images_are_told(set_of_colours: Coloured, tmp_path: Path) -> None:
    class Gone(MemoryImages):
        def batches(self, positions: Any, batch_size: int = 4) -> Any:
            yield from super().batches(positions[:4], batch_size)
            raise UsageError("the disk is gone")

    broken = Coloured(set_of_colours.uri, Gone(set_of_colours.images.pixels), set_of_colours.network)
    notes: list[str] = []
    with pytest.raises(UsageError, match="the disk is gone"):
        broken.tune(tmp_path / "state", Told(note=notes.append), groups=40, max_epochs=1)
    assert notes == ["the network has 3 layers with weights, so --groups is 3, not 40"]
