"""The heads by name. A head is a small Keras classifier from features [N, *shape] to logits [N, C]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import keras
import numpy as np
import numpy.typing as npt

from storage.asked import check_fields
from storage.errors import UsageError
from trainer.map_pooling import DEFAULT_MAP_POOLING, MAP_POOLINGS, Tensor
from trainer.plain_validation import PlainlyValidated
from trainer.standardise import moments, standardised

MAX_HIDDEN = 65536  # units a layer
MAX_K = 1000
METRICS = ("cosine", "euclid")
FIXED_POOLINGS = ("flatten", "avg", "max")  # that nothing is learned in


@dataclass(frozen=True)
class HeadOptions:
    """What head to fit. `Flatten -> Dense(128, relu) -> softmax` is HeadOptions("mlp", map="flatten", hidden=(128,)).

    c: inverse L2 strength as in scikit-learn's LogisticRegression, on all dense kernels; alpha: that of its RidgeClassifier; k: how many
    neighbours vote. None: the head's own, or (logistic, ridge, knn) the one that validation chooses.
    """

    head: str = "linear"
    map: str = ""  # pooling of maps; "": the default one. Vectors are read as they are
    hidden: tuple[int, ...] = ()  # units of the hidden layers; (): the head's own
    dropout: float = 0.0  # share of the hidden units switched off in each training step
    c: float | None = None
    alpha: float | None = None
    k: int | None = None
    metric: str = ""  # of knn: cosine (as "") or euclid

    def __post_init__(self) -> None:
        check_fields(self)
        if self.head not in HEADS:
            raise UsageError(f"unknown head {self.head!r}: expected one of {', '.join(HEADS)}")
        if self.map and self.map not in MAP_POOLINGS:
            raise UsageError(f"unknown map pooling {self.map!r}: expected one of {', '.join(MAP_POOLINGS)}")
        kind = HEADS[self.head]
        if not kind.hidden and (self.hidden or self.dropout):
            raise UsageError(f"the {self.head} head has no hidden layer: leave out hidden and dropout, or choose the head mlp")
        if not all(1 <= units <= MAX_HIDDEN for units in self.hidden):
            raise UsageError(f"hidden must be layers of 1 to {MAX_HIDDEN} units, such as (128,); got {self.hidden!r}")
        for name in ("c", "alpha", "k", "metric"):
            if getattr(self, name) and name not in kind.takes:
                takes = f"it takes {' and '.join(kind.takes)}" if kind.takes else "there is nothing to set"
                raise UsageError(f"the {self.head} head has no {name}: {takes}")
        if self.metric and self.metric not in METRICS:
            raise UsageError(f"unknown metric {self.metric!r}: expected one of {', '.join(METRICS)}")
        if self.map not in ("", *kind.maps):
            raise UsageError(
                f"the {self.head} head learns nothing within a map: --map must be one of {', '.join(kind.maps)}; got {self.map!r}"
            )
        require_range(self, "c", 1e-9, 1e9)
        require_range(self, "alpha", 1e-9, 1e12)
        require_range(self, "k", 1, MAX_K)
        require_range(self, "dropout", 0, 0.95)

    def for_features(self, shape: Sequence[int]) -> Self:
        """The same with all that was left open filled in, for features [*shape]. Raises UsageError for a pooling of vectors."""
        if len(shape) == 1 and self.map:
            raise UsageError(
                f"map pooling {self.map!r} needs maps, and these features are vectors of {shape[0]}: leave it out, "
                "or extract a set with --pooling none"
            )
        kind, pooling = HEADS[self.head], self.map or (DEFAULT_MAP_POOLING if len(shape) > 1 else "")
        metric = self.metric or (METRICS[0] if "metric" in kind.takes else "")
        return replace(self, map=pooling, hidden=self.hidden or kind.hidden, c=kind.c if self.c is None else self.c, metric=metric)

    def describe(self) -> str:
        """In a few words, such as `mlp(128), map flatten`."""
        return self.head + (f"({', '.join(map(str, self.hidden))})" if self.hidden else "") + (f", map {self.map}" if self.map else "")

    def l2(self, rows: int) -> float:
        """What is added to the mean loss is l2 * sum(kernel ** 2): scikit-learn's objective, divided by C and the number of rows."""
        assert self.c is not None, "these options are not yet those for_features"
        return 1.0 / (2.0 * self.c * rows)


def require_range(options: object, name: str, low: float, high: float) -> None:
    """Raise UsageError unless low <= options.name <= high (so also for NaN), or it is None: left open."""
    value = getattr(options, name)
    if value is not None and not low <= value <= high:
        raise UsageError(f"{name} must be from {low:g} to {high:g}, got {value!r}")


@dataclass(frozen=True)
class HeadInput:
    """What a head is built for: features [N, *shape], the `rows` of them that it trains on, of so many `items`, and C outputs.

    The rows of all views of an item give mean and spread, and the item counts once against the L2.
    """

    features: npt.NDArray[np.generic]
    rows: Sequence[int] | npt.NDArray[np.int64]
    items: int
    outputs: int


@dataclass(frozen=True)
class HeadKind:
    """What a head takes beside `map` (and whether it has hidden layers), and what it does without being told. How each is fitted is the
    table of `trainer.solvers`.

    build(x [N, D], options, outputs, l2) gives logits: of heads that Keras trains.
    """

    takes: tuple[str, ...] = ()
    c: float | None = None
    hidden: tuple[int, ...] = ()
    maps: tuple[str, ...] = FIXED_POOLINGS
    build: Callable[[Tensor, HeadOptions, int, keras.regularizers.Regularizer], Tensor] | None = None
    unvalidated: str = "training went on for all of --max-epochs"  # what happens where no item is left to validate on


def _linear(x: Tensor, options: HeadOptions, outputs: int, l2: keras.regularizers.Regularizer) -> Tensor:
    """One dense layer: logistic regression. Zeros, as the problem is convex: a random start only adds noise between seeds."""
    return keras.layers.Dense(outputs, kernel_initializer="zeros", kernel_regularizer=l2, name="logits")(x)


def _mlp(x: Tensor, options: HeadOptions, outputs: int, l2: keras.regularizers.Regularizer) -> Tensor:
    """Hidden ReLU layers, each followed by dropout, then the linear layer."""
    for units in options.hidden:
        x = keras.layers.Dense(units, activation="relu", kernel_regularizer=l2)(x)
        x = keras.layers.Dropout(options.dropout)(x) if options.dropout else x
    return _linear(x, options, outputs, l2)


# The c of the mlp had the best validation of 0.01 to 100 on 850 pooled MobileNetV2 features of photographs.
HEADS: dict[str, HeadKind] = {
    "linear": HeadKind(("c",), c=0.01, maps=tuple(MAP_POOLINGS), build=_linear),
    "mlp": HeadKind(("c",), c=0.1, hidden=(128,), maps=tuple(MAP_POOLINGS), build=_mlp),
    "logistic": HeadKind(("c",), unvalidated="c was not chosen, but is as asked for or 0.01"),
    "ridge": HeadKind(("alpha",), unvalidated="alpha is as asked for or 1000, and probabilities are too sure, as they follow train"),
    "class-mean": HeadKind(unvalidated="probabilities are too sure, as they follow train"),
    "knn": HeadKind(("k", "metric"), unvalidated="k was not chosen, but is as asked for or 5"),
}


def build_head(options: HeadOptions, head_input: HeadInput) -> keras.Model:
    """Standardised features, pooled if they are maps, then the head. `options` are those `for_features` of this shape."""
    pooling = MAP_POOLINGS[options.map or "flatten"]  # a vector is its own flattening
    inputs = keras.Input(head_input.features.shape[1:])
    found = moments(head_input.features, head_input.rows, pooling.statistics)
    l2 = keras.regularizers.L2(options.l2(head_input.items))
    x = pooling.build(inputs, lambda vectors: standardised(vectors, found), l2)
    build = HEADS[options.head].build
    assert build is not None, f"Keras does not train the head {options.head}"
    return PlainlyValidated(inputs, build(x, options, head_input.outputs, l2))


def with_activation(model: keras.Model, activation: keras.layers.Layer) -> keras.Model:
    """The same head ending in probabilities, for keeping and use."""
    return keras.Model(model.input, activation(model.output))
