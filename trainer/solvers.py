"""How each head is fitted, by name."""

from __future__ import annotations

from collections.abc import Callable

from trainer.exact_fits import ClassMeanFit, FitData, LogisticFit, RidgeFit
from trainer.features import LabelledFeatures
from trainer.fitting import Fitting
from trainer.neighbours import NeighboursFit
from trainer.solver import Solver


def _stochastic(labelled: LabelledFeatures, data: FitData) -> Fitting:
    return Solver(labelled, data.task, data.options)


SOLVERS: dict[str, Callable[[LabelledFeatures, FitData], Fitting]] = {
    "linear": _stochastic,
    "mlp": _stochastic,
    "logistic": lambda _, data: LogisticFit(data),
    "ridge": lambda _, data: RidgeFit(data),
    "class-mean": lambda _, data: ClassMeanFit(data),
    "knn": lambda _, data: NeighboursFit(data),
}
STREAMED = ("logistic", "ridge", "class-mean")  # that pass over the features, and need not have them in memory
