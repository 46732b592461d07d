"""A training that was over before its validation loss had stopped falling says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.coloured import coloured
from tests.trainer.test_tail_fit import SHAPE, make_tail
from trainer.fit import fit
from trainer.options import FitOptions
from trainer.sweep import sweep
from trainer.sweep_options import SweepOptions
from trainer.unfinished import unfinished

SLOW = FitOptions(learning_rate=1e-4, max_epochs=12, batch_size=64)
WAY_OUT = "Raise --max-epochs or --learning-rate (0.0001), or take --head logistic, which is fitted exactly"

FALLING = [1 / epoch for epoch in range(1, 21)]


@pytest.mark.parametrize(
    ("losses", "max_epochs", "patience", "epochs"),
    [
        (FALLING, 20, 5, (15, 20)),
        (FALLING, 20, 50, (10, 20)),
        ([*FALLING, 0.06, 0.06], 22, 5, (17, 20)),
        (FALLING[:3], 3, 5, (1, 3)),
        (FALLING, 21, 5, None),  # something else ended it
        ([*FALLING, *[0.06] * 3], 23, 5, None),  # it got no better for long
        ([*FALLING, *[0.06] * 5], 30, 50, None),
        ([0.5 - epoch * 1e-6 for epoch in range(20)], 20, 5, None),
        ([0.7], 1, 5, None),
        ([float("nan")] * 20, 20, 30, None),
        ([float("nan"), *FALLING], 21, 5, (16, 21)),
        ([], 20, 5, None),
    ],
)
def test_it_is_said_where_it_is_true(losses: Sequence[float], max_epochs: int, patience: int, epochs: tuple[int, int] | None) -> None:
    found = unfinished({"val_loss": losses}, max_epochs, patience, "Raise --max-epochs")
    if epochs is None:
        assert found == []
        return
    first, best = epochs
    assert found == [
        f"--max-epochs {max_epochs} ended the training before --patience {patience} did: the validation loss went from "
        f"{losses[first - 1]:.4g} in epoch {first} to {losses[best - 1]:.4g}, its least, in epoch {best}, and may fall further. "
        "Raise --max-epochs"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("head", ["linear", pytest.param("mlp", marks=pytest.mark.full)])
def test_a_head_that_was_still_learning_says_so(separable_set: str, head: str) -> None:
    fitted = fit(separable_set, options=replace(SLOW, head=head))
    assert np.argmin(fitted.history["val_loss"]) == 11
    (said,) = fitted.warnings
    assert said.startswith("--max-epochs 12 ended the training before --patience 10 did: the validation loss went from ")
    assert said.endswith(WAY_OUT)


@pytest.mark.slow
def test_a_sweep_says_it_of_its_winner(separable_set: str) -> None:
    found = sweep(separable_set, options=SweepOptions(SLOW, {"learning_rate": (1e-5, 1e-4)}, seeds=1))
    (said,) = found.fitted.warnings
    assert said.endswith(WAY_OUT)


@pytest.mark.full
@pytest.mark.slow
def test_a_hybrid_head_is_told_of_its_own_rate(write_set: Callable[..., str], separable_rows: Callable[..., list[Any]]) -> None:
    options = FitOptions(learning_rate=0.01, tail_learning_rate=1e-4, max_epochs=3, patience=3, batch_size=32)
    uri = write_set(separable_rows(24, SHAPE))
    assert fit(uri, options=options, tail=make_tail()).warnings[-1].endswith("Raise --max-epochs or --tail-learning-rate (0.0001)")
    swept = sweep(uri, options=SweepOptions(options, {"train_last": (None,)}, seeds=1, strategy="hybrid"), tail=make_tail())
    assert swept.fitted.warnings[-1].endswith("Raise --max-epochs or --tail-learning-rate (0.0001)")


@pytest.mark.slow
def test_fine_tuning_is_told_too(tmp_path: Path) -> None:
    tuned = coloured(tmp_path / "store").tune(tmp_path / "state", stages=(), max_epochs=6)
    assert tuned.warnings[-1].startswith("--max-epochs 6 ended the training before --patience 5 did")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [replace(SLOW, learning_rate=5.0, patience=2, max_epochs=60), replace(SLOW, validation=0), FitOptions("logistic", max_epochs=1)],
    ids=["stopped", "unvalidated", "exact"],
)
def test_heads_that_stopped_or_have_no_such_loss_do_not(separable_set: str, options: FitOptions) -> None:
    assert not [said for said in fit(separable_set, options=options).warnings if "--max-epochs 1" in said or "ended" in said]


@pytest.mark.full
@pytest.mark.slow
def test_attention_is_not_sent_to_a_head_that_has_none(write_set: Callable[..., str], separable_rows: Callable[..., list[Any]]) -> None:
    fitted = fit(write_set(separable_rows(shape=(2, 3, 4))), options=replace(SLOW, map="attention"))
    assert fitted.warnings[-1].endswith("Raise --max-epochs or --learning-rate (0.0001)")
