"""What a sweep tries: a grid of values, or a number of random draws that successive halving thins out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from storage.asked import check_fields
from storage.errors import UsageError
from trainer.heads import HEADS
from trainer.options import FitOptions
from trainer.tails import FEATURE_EXTRACTION, HYBRID

LOGARITHMIC = ("c", "alpha", "learning_rate", "tail_learning_rate", "weight_decay")  # drawn evenly by their logarithm
NUMBERS = (*LOGARITHMIC, "dropout", "label_smoothing", "mixup")
OF_HIDDEN_LAYERS = ("hidden", "dropout")
OF_TRAINING = ("learning_rate", "batch_size")  # by Adam
STRENGTHS = ("c", "alpha")
OF_SOME_HEADS = (*OF_HIDDEN_LAYERS, *OF_TRAINING, *STRENGTHS)
OF_TAIL = ("tail_learning_rate", "train_batch_norm")  # of layers that train
OF_HYBRID = ("train_last", "tail_learning_rate", "weight_decay", "label_smoothing", "mixup")  # that heads trained together do not have
ALONE = (*OF_HYBRID, "train_batch_norm")
AXES = ("head", "c", "alpha", "learning_rate", "dropout", "hidden", "class_weights")  # of heads on features

# What candidates may be ranked by, in `to_dict` of an evaluation, and whether more of it is better. The first is the default.
METRICS = {"accuracy": True, "log_loss": False, "macro_f1": True}
MULTI_LABEL_METRICS = {"mean_average_precision": True, "log_loss": False, "macro_f1": True, "micro_f1": True}

MAX_CANDIDATES = 10_000


def takes(head: str, name: str) -> bool:
    """Whether an option is one of the head's. Of an unknown head all are, so that what is said is that it is unknown."""
    if head not in HEADS:
        return True
    kind = HEADS[head]
    if name in OF_HIDDEN_LAYERS:
        return bool(kind.hidden)
    if name in OF_TRAINING:
        return kind.build is not None
    return name in kind.takes if name in STRENGTHS else True


@dataclass(frozen=True)
class Range:
    """From low to high, both included."""

    low: float
    high: float

    def __post_init__(self) -> None:
        check_fields(self, low="the low end of a range", high="the high end of a range")
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise UsageError(f"a range must go from a number to a greater one, got {self.low!r} to {self.high!r}")


Axis = tuple[Any, ...] | Range

# What is tried where nothing is said: a grid, or ranges for a budget.
DEFAULT_GRID: Mapping[str, Axis] = {"c": (0.0001, 0.001, 0.01, 0.1, 1.0), "alpha": (10.0, 100.0, 1000.0, 10000.0, 100000.0)}
DEFAULT_RANGES: Mapping[str, Axis] = {"c": Range(1e-5, 10), "alpha": Range(1, 1e5), "learning_rate": Range(1e-4, 1e-2)}
# Beside the number of layers that train, in the strategy hybrid.
HYBRID_GRID: Mapping[str, Axis] = {"tail_learning_rate": (0.00003, 0.0001, 0.0003)}
HYBRID_RANGES: Mapping[str, Axis] = {"learning_rate": Range(1e-4, 1e-2), "tail_learning_rate": Range(1e-5, 1e-3)}


@dataclass(frozen=True)
class SweepOptions:
    """`axes`: the values (or, with a budget, ranges) of options to try, by the name of the option; what has none is that of `base`.
    A head that no axis is for has the default ones.

    strategy: feature-extraction, or hybrid, whose heads have a tail and are trained one by one.

    `seeds`: runs of each candidate. A seed decides which items validate (unless a validation split is given), and the start of hidden
    layers. The test items, and the order of the batches, which all heads of a pass share, go by `base.seed`.
    """

    base: FitOptions = field(default_factory=FitOptions)
    axes: Mapping[str, Axis] = field(default_factory=dict)
    seeds: int = 3
    budget: int | None = None  # candidates to draw; None: all of the grid
    eta: int = 3  # of `eta` candidates one goes on to `eta` times the epochs
    metric: str = ""  # one of METRICS; "": the first of the task's
    strategy: str = FEATURE_EXTRACTION

    def __post_init__(self) -> None:
        check_fields(self, base="the base of a sweep", axes="the axes of a sweep")
        for name, low, high in (("seeds", 1, 100), ("eta", 2, 100), ("budget", 1, MAX_CANDIDATES)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} must be a whole number from {low} to {high}, got {value!r}")
        if self.strategy not in (FEATURE_EXTRACTION, HYBRID):
            raise UsageError(f"the strategy of a sweep must be {FEATURE_EXTRACTION} or {HYBRID}, got {self.strategy!r}")
        for name in () if self.is_hybrid else ALONE:
            if name in self.axes or getattr(self.base, name) not in (None, 0):
                raise UsageError(f"heads that train together have no {name}: leave it out, use `train`, or sweep with --strategy {HYBRID}")
        metrics = MULTI_LABEL_METRICS if self.base.multi_label else METRICS
        if self.metric and self.metric not in metrics:
            raise UsageError(f"unknown metric {self.metric!r}: expected one of {', '.join(metrics)}")
        for name, axis in sorted(self.axes.items(), key=lambda named: named[0] != "head"):
            self._check_axis(name, axis)

    def _check_axis(self, name: str, axis: Axis) -> None:
        if name not in self.names:
            raise UsageError(f"{name!r} cannot be swept: expected one of {', '.join(self.names)}")
        if isinstance(axis, Range):
            self._check_range(name, axis)
        elif not axis or len({repr(value) for value in axis}) < len(axis):
            raise UsageError(f"the values of {name} must be there, and each once; got {axis!r}")
        if not any(takes(head, name) for head in self.heads):
            raise UsageError(f"{name} is an option of none of the heads {', '.join(self.heads)}: leave it out, or add a head that has it")

    def _check_range(self, name: str, axis: Range) -> None:
        if name not in NUMBERS:
            of_these = ", ".join(number for number in NUMBERS if number in self.names)
            raise UsageError(f"{name} must be given as values: a range is for {of_these}")
        if self.budget is None:
            raise UsageError(f"the range of {name} holds no end of values: say with a budget how many candidates to draw, or list values")
        if name in LOGARITHMIC and axis.low <= 0:
            raise UsageError(f"the range of {name} must be above 0, got {axis.low:g} to {axis.high:g}")

    @property
    def is_hybrid(self) -> bool:
        return self.strategy == HYBRID

    @property
    def names(self) -> tuple[str, ...]:
        """Of the options that can be swept."""
        return (*AXES, *OF_HYBRID) if self.is_hybrid else AXES

    @property
    def heads(self) -> tuple[str, ...]:
        axis = self.axes.get("head", (self.base.head,))
        assert not isinstance(axis, Range)
        return tuple(axis)

    @property
    def staying(self) -> int:
        """How many of the first candidates go up all rungs: of a search with a budget those that do what `train` does by itself."""
        return min(len(self.heads), self.budget) if self.budget else 0

    @property
    def exact(self) -> bool:
        """Whether all heads are found exactly, without epochs."""
        return not self.is_hybrid and all(head in HEADS and HEADS[head].build is None for head in self.heads)

    @property
    def ranked_by(self) -> str:
        return self.metric or next(iter(MULTI_LABEL_METRICS if self.base.multi_label else METRICS))

    @property
    def more_is_better(self) -> bool:
        return (MULTI_LABEL_METRICS if self.base.multi_label else METRICS)[self.ranked_by]
