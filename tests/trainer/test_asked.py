"""Mistakes in a program's call are told in words, before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import trainer
from storage.errors import UsageError

WRONG: dict[str, Callable[[Any], object]] = {
    r"the values of head must be several, .* got 'ridge'": lambda _: trainer.SweepOptions(axes={"head": "ridge"}),  # type: ignore[dict-item]
    r"the values of c must be several, .* got 0\.1": lambda _: trainer.SweepOptions(axes={"c": 0.1}),  # type: ignore[dict-item]
    "the base of a sweep must be of type FitOptions": lambda wrong: trainer.SweepOptions(wrong),
    "the axes of a sweep must be of type Mapping": lambda _: trainer.SweepOptions(axes=["c"]),  # type: ignore[arg-type]
    "unknown split 3": lambda _: trainer.LoadOptions(split=3),  # type: ignore[arg-type]
    r"labels \(a file is an argument of its own\) must be of type LabelOptions; got 'x'": lambda _: trainer.LoadOptions(labels="x"),  # type: ignore[arg-type]
    r"labels \(a file .*; got 'y'": lambda _: trainer.FitOptions(labels="y"),  # type: ignore[arg-type]
    "shuffle must be of type bool; got 'no'": lambda _: trainer.LoadOptions(shuffle="no"),  # type: ignore[arg-type]
    "options must be of type FitOptions; got {'head'": lambda wrong: trainer.fit("no/such/set", "split.csv", wrong),
    "options must be of type SweepOptions": lambda wrong: trainer.sweep("no/such/set", options=wrong),
    "options must be of type LoadOptions": lambda wrong: trainer.load("no/such/set", options=wrong),
    r"the head \(trainer\.load_head .*\) must be of type Head": lambda _: trainer.evaluate_head("heads/lin", "no/such/set"),  # type: ignore[arg-type]
    "a saved position must be of type Mapping; got None": lambda _: trainer.Position.from_dict(None),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("message", WRONG)
def test_another_type_is_told(message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WRONG[message]({"head": "ridge"})


def test_a_list_of_values_is_as_good_as_a_tuple() -> None:
    assert trainer.SweepOptions(axes={"head": ["ridge", "linear"], "c": [0.1]}).heads == ("ridge", "linear")  # type: ignore[dict-item]
