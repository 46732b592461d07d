"""What a report says of a fit and of doubtful labels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from trainer.fitted import FittedHead
from trainer.report import told_of_fit
from trainer.report_data import by


@pytest.mark.parametrize(
    ("strategy", "epochs", "chosen", "words"),
    [
        ("feature-extraction", 12, {}, "12 epochs"),
        ("feature-extraction", 0, {"c": 0.01}, "c 0.01"),
        ("hybrid", 0, {"head_epochs": 7}, "0 epochs, head epochs 7"),
        ("fine-tuning", 3, {}, "3 epochs"),
    ],
)
def test_epochs_are_those_of_what_was_trained(strategy: str, epochs: int, chosen: dict[str, Any], words: str) -> None:
    fitted = cast("FittedHead", SimpleNamespace(strategy=strategy, epochs=epochs, chosen=chosen))
    assert told_of_fit(fitted) == words


def test_a_class_that_is_suggested_may_be_the_less_probable_one() -> None:
    assert (by(0.511), by(-0.09)) == ("by 51.1% more probable", "by 9.0% less probable")
