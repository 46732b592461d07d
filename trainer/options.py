"""How to fit: what head, on which share of the items, for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Self

from storage.asked import check_fields
from storage.errors import UsageError
from trainer.class_weights import check_class_weights
from trainer.features import RANDOM, VIEWS
from trainer.heads import HEADS, HeadOptions, require_range
from trainer.label_options import CALLED_LABELS, LabelOptions
from trainer.split_options import AUTO, SplitOptions

OF_STEPS = ("learning_rate", "batch_size", "weight_decay", "label_smoothing", "mixup")  # of heads that are trained step by step
UNWEIGHTED = ("class-mean", "knn")
LEARNING_RATE = 1e-3
# Adam moves each weight by the rate in each step, so a logit by the rate times the inputs: flattened 7x7x1280 maps (62,720 inputs) made
# a linear head jump at 0.001 (0.78 to 0.88 test accuracy, by the batch size) and gave 0.88 and 0.89 at 0.0001 and 0.00003.
FULL_RATE_INPUTS = 8192


@dataclass(frozen=True)
class FitOptions(HeadOptions):
    """`multi_label`: an item has any number of classes, each decided apart. `class_weights`: "balanced", or weights by class name.

    `views`: "random", or "plain" to train on view 0 alone; no difference for a set without further views.
    """

    multi_label: bool = False
    class_weights: str | Mapping[str, float] | None = None
    learning_rate: float | None = None  # of Adam; None: 0.001, less for more inputs than FULL_RATE_INPUTS
    batch_size: int | None = None  # None: 256, or as many rows as make 16 MiB of float32 features if these are fewer
    max_epochs: int = 200
    patience: int = 10  # epochs without a better validation loss before stopping
    test: float = 0.2  # share held out where no splits are given
    validation: float = 0.15  # share of the rest held out where no validation split is given
    seed: int = 0
    views: str = RANDOM
    split_by: str = AUTO  # see SplitOptions, of this and the next two
    group_by: str = ""
    shots: int | None = None
    labels: LabelOptions = field(default_factory=LabelOptions)
    weight_decay: float = 0.0  # of all kernels, in each step, as a share of the learning rate (AdamW); beside the L2 by c
    label_smoothing: float = 0.0  # share of each target that is spread over all classes, in training
    mixup: float = 0.0  # a of Beta(a, a), by which the features of a batch are mixed in pairs, in training; 0: not
    tail_learning_rate: float | None = None  # of hybrid heads, as this: the rate of the tail's layers; None: 0.0001
    train_batch_norm: bool = False  # BatchNorm in the tail trains, and its statistics move
    train_last: int | None = None  # of hybrid heads: how many of the network's last layers train; 0: the head alone; None: the whole tail

    @property
    def split(self) -> SplitOptions:
        return SplitOptions(self.split_by, self.test, self.validation, self.seed, self.group_by, self.shots)

    def __post_init__(self) -> None:
        check_fields(self, labels=CALLED_LABELS)
        super().__post_init__()
        check_class_weights(self.class_weights)
        if self.views not in VIEWS:
            raise UsageError(f"views must be one of {', '.join(VIEWS)}; got {self.views!r}")
        require_range(self, "learning_rate", 1e-9, 10)
        require_range(self, "tail_learning_rate", 1e-9, 10)
        require_range(self, "weight_decay", 0, 10)
        if self.train_last is not None and self.train_last < 0:  # how many there are the tail knows
            raise UsageError(f"--train-last must be 0 (the head alone) or more, got {self.train_last}")
        if self.train_last == 0 and (self.tail_learning_rate or self.train_batch_norm):
            raise UsageError("with train_last 0 the head alone is trained: leave out the tail's learning rate and its BatchNorm")
        require_range(self, "label_smoothing", 0, 0.9)
        if self.mixup:
            require_range(self, "mixup", 0.05, 10)
        if self.class_weights is not None and self.head in UNWEIGHTED:
            raise UsageError(f"the {self.head} head has no loss that classes could weigh in: leave out class weights")
        if self.multi_label and self.head == "class-mean":
            raise UsageError(
                "the class-mean head gives an item one class, the nearest: for any number of classes use logistic, ridge or knn"
            )
        if self.multi_label and self.head == "ridge" and self.class_weights is not None:
            raise UsageError(
                "weighted, each class of the ridge head would need a Gram matrix of its own: use the head logistic, or no weights"
            )
        for name in OF_STEPS:
            if getattr(self, name) and HEADS[self.head].build is None:
                raise UsageError(f"the {self.head} head is found exactly: it has no {name}")
        for name in ("batch_size", "max_epochs", "patience"):
            require_range(self, name, 1, 1e6)
        _ = self.split  # it checks itself

    def for_features(self, shape: Sequence[int]) -> Self:
        """The same with all that was left open filled in, for features [*shape]."""
        options = super().for_features(shape)
        if HEADS[self.head].build is None:
            return options
        inputs = prod(shape) if options.map in ("", "flatten") else shape[-1]
        return replace(options, learning_rate=self.learning_rate or LEARNING_RATE * min(1.0, FULL_RATE_INPUTS / inputs))

    def for_tail(self, pooling: str, end: Sequence[int], tail_learning_rate: float) -> Self:
        """The same with all that was left open filled in, for a tail that ends in [*end], pooled so."""
        options = replace(self, map=pooling).for_features(end)
        if self.train_last == 0:
            return options
        return replace(options, tail_learning_rate=self.tail_learning_rate or tail_learning_rate)
