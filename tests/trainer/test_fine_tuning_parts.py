"""Augmentation, learning rates by variable, stages and checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import DamagedError, UsageError
from trainer.adam_by_part import AdamByPart
from trainer.augmentation import Augmentation
from trainer.checkpoint import FILE, Checkpoint, Progress, Snapshot, remove_checkpoint
from trainer.fine_tuning_options import FineTuningOptions
from trainer.seen_items import Seen
from trainer.tuned_warnings import warnings_of_tuning
from trainer.unfreezing import next_epoch

PIXELS = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)


def changed(how: Augmentation, seed: int = 0) -> np.ndarray:
    return np.asarray(how(tf.constant(PIXELS), tf.constant([seed, 1], tf.int64)))


def test_a_batch_is_of_all_items_at_most_in_equal_shares() -> None:
    asked = FineTuningOptions(batch_size=100_000)
    assert [asked.for_items(160, devices).batch_size for devices in (0, 1, 2, 3)] == [160, 160, 160, 162]
    assert FineTuningOptions(batch_size=32).for_items(160, 1).batch_size == 32
    with pytest.raises(UsageError, match="--batch-size must be a multiple of the 3 devices, got 32"):
        FineTuningOptions(batch_size=32).for_items(160, 3)


def test_groups_are_no_more_than_layers() -> None:
    asked = FineTuningOptions(groups=4, stages=(2, 1, 3))
    assert [(own.groups, own.stages) for own in map(asked.for_depth, (9, 4, 2, 1))] == [
        (4, (2, 1, 3)),
        (4, (2, 1, 3)),
        (2, (2, 1)),
        (1, (2,)),
    ]
    with pytest.raises(UsageError, match="no layers with weights"):
        asked.for_depth(0)


def test_nothing_asked_for_changes_nothing() -> None:
    np.testing.assert_array_equal(changed(Augmentation.parse("none")), PIXELS)


def test_changes_go_by_the_seed_alone() -> None:
    np.testing.assert_array_equal(changed(Augmentation()), changed(Augmentation()))
    assert any((changed(Augmentation(), 0) != changed(Augmentation(), seed)).any() for seed in (1, 2))


def test_a_flip_is_a_mirror_for_about_half_of_the_seeds() -> None:
    found = [changed(Augmentation.parse("flip"), seed) for seed in range(40)]
    mirrored = [np.array_equal(each, PIXELS[:, ::-1]) for each in found]
    assert all(np.array_equal(each, PIXELS) for each, is_mirror in zip(found, mirrored, strict=True) if not is_mirror)
    assert 8 < sum(mirrored) < 32


def test_a_cut_stays_within_the_image() -> None:
    """Of a slope, the cut is a slope of the same range or less."""
    slope = np.repeat(np.arange(100, 200, 10, dtype=np.uint8)[:, None, None], 10, 1).repeat(3, 2)
    for seed in range(10):
        cut = np.asarray(Augmentation.parse("crop=0.5")(tf.constant(slope), tf.constant([seed, 0], tf.int64))).astype(int)
        assert cut.min() >= 100
        assert cut.max() <= 190
        assert (np.diff(cut[:, 0, 0]) >= 0).all()
        assert 40 <= cut[-1, 0, 0] - cut[0, 0, 0] <= 90


def test_bad_words_are_told() -> None:
    for text in ("rotate", "crop", "crop=big", "flip=1"):
        with pytest.raises(UsageError, match="--augment takes"):
            Augmentation.parse(text)
    with pytest.raises(UsageError, match="crop must be from"):
        Augmentation.parse("crop=0")
    for options in ({"stages": (1, 1, 1, 1)}, {"stages": (-1,)}, {"precision": "int8"}, {"rate_decay": 0.0}, {"batch_size": 0}):
        with pytest.raises(UsageError):
            FineTuningOptions(**options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"at most 3 numbers of 0 or more; got 1,1,1,1$"):
        FineTuningOptions(stages=(1, 1, 1, 1))


def run_through(options: FineTuningOptions, losses: list[float]) -> tuple[list[int], list[int]]:
    """How many groups each epoch trains, and the epochs that begin with the best weights so far; the validation losses are those given, and
    then no better ones."""
    progress, from_best = Progress(), []
    while coming := next_epoch(options, progress):
        loss = (losses + [9.0] * 99)[progress.epochs]
        progress = replace(progress, epochs=progress.epochs + 1, open_groups=[*progress.open_groups, coming.open_groups])
        from_best += [progress.epochs] if coming.from_best else []
        if loss < progress.best_loss:
            progress = replace(progress, best_epoch=progress.epochs, best_loss=loss)
    return progress.open_groups, from_best


@given(st.lists(st.integers(0, 3), max_size=3), st.integers(1, 12))
def test_stages_open_one_group_after_the_other(stages: list[int], epochs: int) -> None:
    options = FineTuningOptions(stages=tuple(stages), max_epochs=epochs, patience=1)
    opened, from_best = run_through(options, [1 / (1 + epoch) for epoch in range(epochs)])
    planned = [number for number, count in enumerate(stages) for _ in range(count)]
    assert (opened, from_best) == ((planned + [3] * epochs)[:epochs], [])


def test_patience_ends_a_stage_and_only_in_the_last_one_the_run() -> None:
    options = FineTuningOptions(stages=(6, 6), groups=2, patience=2, max_epochs=14)
    assert run_through(options, [1.0]) == ([0, 0, 0, 1, 1, 2, 2], [4, 6])
    # The second stage gets better than the first one, and has its patience then.
    assert run_through(options, [1.0, 2.0, 2.0, 0.9, 0.8]) == ([0, 0, 0, 1, 1, 1, 1, 2, 2], [4, 8])
    assert run_through(replace(options, max_epochs=5), [1.0]) == ([0, 0, 0, 1, 1], [4])
    # Stages whose epochs are over hand their last weights on, and no stage has waited before it began.
    assert run_through(replace(options, stages=(1, 1)), [1.0]) == ([0, 1, 2, 2], [])


def test_without_validation_there_is_no_patience() -> None:
    options = FineTuningOptions(stages=(3,), groups=1, patience=1, max_epochs=6)
    assert run_through(options, [float("inf")] * 6)[0] == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("opened", "best", "said"),
    [
        ([0], 1, "no layer of the network was trained, the head alone: --max-epochs was over before --stages opened one"),
        ([0, 1, 2], 1, "no layer of the network was trained, the head alone: the kept epoch, 1, came before --stages opened one"),
        ([0, 0], 0, "no layer of the network was trained, the head alone: --max-epochs was over before --stages opened one"),
        ([0, 1, 2], 2, ""),
        ([1, 2], 0, ""),
    ],
)
def test_a_network_that_was_left_as_it_was_is_told(opened: list[int], best: int, said: str) -> None:
    progress = Progress(len(opened), best, best_loss=0.5, curves={"start_val_loss": [0.6]}, open_groups=opened)
    assert warnings_of_tuning(progress, None, "linear", Seen()) == ([said] if said else [])


@pytest.mark.parametrize(
    ("start", "way_out"),
    [
        ("heads/cached", "Keep heads/cached"),
        (
            None,
            "That was a mlp(64) head on the cached features: `permafrost train` with the same labels, splits and head options, without "
            "--strategy fine-tuning, fits and keeps it",
        ),
    ],
)
def test_a_start_that_was_no_worse_is_named_where_the_user_has_it_and_else_how_to_have_it(start: str | None, way_out: str) -> None:
    progress = Progress(1, 1, best_loss=0.7, curves={"start_val_loss": [0.6]}, open_groups=[1])
    said = "fine-tuning did not lower the validation loss (0.600 at the start, 0.700 at best): what is written is no better than what it "
    assert warnings_of_tuning(progress, start, "mlp(64)", Seen()) == [f"{said}started from. {way_out}"]


@pytest.mark.parametrize(
    ("sure", "was", "unseen"), [(True, "was", "the test items"), (False, "may have been", "items that neither has seen")]
)
def test_a_start_that_has_seen_the_validation_items_is_not_called_the_better_one(sure: bool, was: str, unseen: str) -> None:
    """An ordinary head is fitted on them last of all, so that its loss on them is lower than on items that it has not seen."""
    progress = Progress(1, 1, best_loss=0.7, curves={"start_val_loss": [0.6]}, open_groups=[1])
    assert warnings_of_tuning(progress, "heads/cached", "linear", Seen(sure, "fitted on them")) == [
        f"the validation loss did not fall (0.600 at the start, 0.700 at best), which tells nothing, as heads/cached {was} fitted on the "
        f"validation items: `permafrost evaluate` of both on {unseen} tells which is better"
    ]
    progress = replace(progress, best_loss=0.5)
    assert warnings_of_tuning(progress, "heads/cached", "linear", Seen(sure, "fitted on them")) == []


def test_each_variable_has_its_rate_and_kernels_decay() -> None:
    variables = [
        keras.Variable(np.ones((2, 2), np.float32)),
        keras.Variable(np.ones(2, np.float32)),
        keras.Variable(np.ones(2, np.float32)),
    ]
    adam = AdamByPart(0.1, (0.5, 0.5, 0.1), decay=0.2)
    adam.build(variables)
    adam.apply([tf.ones(v.shape) for v in variables[:2]], variables[:2])  # a stage in which the third is frozen
    adam.apply([tf.ones(v.shape) for v in variables], variables)
    # Adam's first steps on a constant gradient are of the size of the rate.
    np.testing.assert_allclose(variables[1].numpy(), 1 - 2 * 0.05, atol=1e-5)
    once = (1 - 0.05 * 0.2) - 0.05
    np.testing.assert_allclose(variables[0].numpy(), once * (1 - 0.05 * 0.2) - 0.05, atol=1e-5)
    assert 0.98 < float(variables[2].numpy()[0]) < 1.0


def test_a_checkpoint_is_that_of_its_own_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Checkpoint(tmp_path / "state", {"seed": 1})
    assert kept.get() == (None, "")
    values = [np.arange(3, dtype=np.float32), np.array(7, np.int64), *(np.array(i) for i in range(12))]
    kept.put(Snapshot(Progress(2, 1, 0.5, 8, {"loss": [1.0, 0.5]}), values, values[:1]))
    found, note = kept.get()
    assert found is not None
    assert "after epoch 2" in note
    assert found.progress == Progress(2, 1, 0.5, 8, {"loss": [1.0, 0.5]})
    assert [value.tolist() for value in found.values] == [value.tolist() for value in values]
    other, note = Checkpoint(tmp_path / "state", {"seed": 2}).get()
    assert other is None
    assert "seed differ" in note
    monkeypatch.setattr("trainer.checkpoint.CHECKPOINT_FORMAT", 2)  # with the penalty of the weights in its validation losses
    kept.put(found)
    monkeypatch.undo()
    older, note = kept.get()
    assert older is None
    assert "another version of permafrost" in note
    (tmp_path / "state" / FILE).write_bytes(b"PK broken")
    with pytest.raises(DamagedError, match="remove the folder"):
        kept.get()
    remove_checkpoint(tmp_path / "state")
    assert not (tmp_path / "state").exists()
