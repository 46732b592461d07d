from __future__ import annotations

from typing import Any

import pytest

from storage.errors import UsageError
from trainer.options import FitOptions
from trainer.sweep_options import Range, SweepOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "seeds must be a whole number from 1 to 100, got 0"),
        ({"budget": 0}, "budget must be a whole number from 1 to 10000, got 0"),
        ({"metric": "micro_f1"}, "unknown metric 'micro_f1': expected one of accuracy, log_loss, macro_f1"),
        ({"axes": {"batch_size": (1,)}}, "'batch_size' cannot be swept: expected one of head, c, "),
        ({"axes": {"c": ()}}, r"the values of c must be there, and each once; got \(\)"),
        ({"axes": {"c": (1.0, 1.0)}}, "the values of c must be there, and each once"),
        ({"axes": {"c": Range(0.1, 1)}}, "the range of c holds no end of values: say with a budget"),
        ({"axes": {"c": Range(0, 1)}, "budget": 3}, "the range of c must be above 0"),
        (
            {"axes": {"hidden": Range(1, 2), "head": ("mlp",)}, "budget": 3},
            "hidden must be given as values: a range is for c, alpha, learning_rate, dropout",
        ),
        ({"axes": {"head": Range(1, 2)}, "budget": 3}, "head must be given as values"),
        ({"axes": {"hidden": ((8,),)}}, "hidden is an option of none of the heads linear: leave it out, or add a head that has it"),
    ],
)
def test_what_makes_no_sense_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SweepOptions(**options)


def test_a_range_goes_up() -> None:
    with pytest.raises(UsageError, match="from a number to a greater one, got 2 to 1"):
        Range(2, 1)


def test_the_metric_is_the_first_of_the_task() -> None:
    assert (SweepOptions().ranked_by, SweepOptions().more_is_better) == ("accuracy", True)
    assert SweepOptions(FitOptions(multi_label=True)).ranked_by == "mean_average_precision"
    assert not SweepOptions(metric="log_loss").more_is_better
