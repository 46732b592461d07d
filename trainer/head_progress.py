"""How far a head has come in its training, and all that it takes to go on from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from trainer.head_stack import Arrays


@dataclass
class Progress:
    """How far a head has come. Epochs count from 1; best_epoch 0: none gave a number.

    temperature: what scores were multiplied by to become logits, in heads whose scores are none. told_loss: the validation loss that such a
    head is ranked by, where it is as good as so many items can tell; None: the one measured. start_loss: the validation loss before the
    first epoch, of heads that stay as they start if no epoch is better; None: of others. head_epochs: of hybrid heads, those of the head
    alone, which come before.
    """

    epoch: int = 0
    steps: int = 0
    best_loss: float = float("inf")
    best_epoch: int = 0
    done: bool = False
    temperature: float = 1.0
    told_loss: float | None = None
    start_loss: float | None = None
    head_epochs: int = 0
    history: dict[str, list[float]] = field(default_factory=lambda: {"loss": [], "val_loss": []})

    @property
    def kept_epoch(self) -> int:
        """That whose weights are kept; 0: the start."""
        return self.best_epoch if self.start_loss is None or self.best_loss < self.start_loss else 0

    @property
    def gave_numbers(self) -> bool:
        return self.best_epoch > 0 or self.start_loss is not None

    def note(self, loss: float, validation: float | None, patience: int) -> bool:
        """End an epoch; whether its weights are the best so far. Without validation the last are."""
        self.epoch += 1
        self.history["loss"].append(loss)
        if validation is not None:
            self.history["val_loss"].append(validation)
            if not validation < self.best_loss:
                self.done = self.epoch - self.best_epoch >= patience
                return False
            self.best_loss = validation
        self.best_epoch = self.epoch
        return True


def mean_epochs(seeds: Sequence[Progress]) -> int:
    """The mean of the epochs with the best validation loss; 0 for heads that are best as they start."""
    least = 1 if seeds[0].start_loss is None else 0
    return max(least, round(sum(one.kept_epoch for one in seeds) / len(seeds)))


@dataclass
class HeadState:
    """A head in training: its weights, Adam's two means, and the best weights so far."""

    weights: Arrays
    means: Arrays
    squares: Arrays
    best: Arrays
    progress: Progress = field(default_factory=Progress)

    @classmethod
    def of(cls, weights: Arrays) -> HeadState:
        zeros = [np.zeros_like(array) for array in weights]
        return cls(weights, zeros, zeros, weights)
