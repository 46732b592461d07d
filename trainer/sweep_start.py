"""What a search with a budget tries first: `train`'s own defaults, or what is nearest to these among the values that may be tried."""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any

from trainer.exact_fits import DEFAULT_ALPHA, DEFAULT_C
from trainer.heads import HEADS, HeadKind
from trainer.options import LEARNING_RATE, FitOptions
from trainer.sweep_options import LOGARITHMIC, NUMBERS, Axis, Range
from trainer.tails import TAIL_LEARNING_RATE


def start_values(head: str, base: FitOptions, axes: Mapping[str, Axis]) -> dict[str, Any]:
    """A value for each axis. None: left open, as `train` leaves it until it knows the features."""
    return {name: _start(name, axis, getattr(base, name), _usual(head, name)) for name, axis in axes.items()}


def _usual(head: str, name: str) -> Any:
    """What `train` takes where the option is not said. Exact heads find their strength by validation: theirs is what they take without."""
    kind = HEADS.get(head, HeadKind())  # an unknown one is told where it is first used
    strength = DEFAULT_C if kind.c is None else kind.c
    rates = {"learning_rate": LEARNING_RATE, "tail_learning_rate": TAIL_LEARNING_RATE}
    return {"c": strength, "alpha": DEFAULT_ALPHA, "hidden": kind.hidden, **rates}.get(name)


def _start(name: str, axis: Axis, asked: Any, usual: Any) -> Any:
    wanted = usual if asked in (None, ()) else asked
    if isinstance(axis, Range):
        open_rate = name == "learning_rate" and asked is None and axis.low <= wanted <= axis.high
        return None if open_rate else min(max(wanted, axis.low), axis.high)
    if name == "train_last" and wanted is None:
        return max(axis)  # all of the tail, or what comes nearest
    if wanted in axis or name not in NUMBERS:
        return wanted if wanted in axis else axis[0]
    return min(axis, key=lambda value: _distance(name, value, wanted))


def _distance(name: str, value: float, wanted: float) -> float:
    return abs(log(value) - log(wanted)) if name in LOGARITHMIC and value > 0 < wanted else abs(value - wanted)
