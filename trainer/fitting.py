"""What each kind of head brings: a way to fit it, with validation first and then on all that may be trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import keras
import numpy as np
import numpy.typing as npt

from trainer.arrays import Numbers

Curves = dict[str, list[float]]


class Validated(NamedTuple):
    """Items [n], and the logits that a head gives them [n, C]."""

    numbers: Numbers
    logits: npt.NDArray[np.float32]


@dataclass(frozen=True)
class FirstFit:
    """model: features [N, *shape] to probabilities [N, C] (None: no longer needed). chosen: what the fit decided on its own, by name.

    curves: by epoch. path: the strengths that were tried, and the validation loss of each. validated: what the model says of the
    validation items, if the fit had to know it and float32 lets both agree; None: ask the model.
    """

    model: keras.Model | None
    chosen: Mapping[str, float]
    curves: Curves = field(default_factory=dict)
    path: Curves = field(default_factory=dict)
    validated: Validated | None = None


class Fitting(Protocol):
    def with_validation(self, train: Numbers, validation: Numbers) -> FirstFit:
        """Fit the items `train`; what was left open is chosen by the items `validation` (there may be none)."""
        ...

    def refit(self, numbers: Numbers, first: FirstFit) -> keras.Model:
        """The same head with what `first` chose, fitted on the items `numbers` alone: those it was trained and validated on, or (of few
        shots) those it was trained on."""
        ...
