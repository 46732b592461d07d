"""How to fit: what head, on which share of the items, for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from storage.errors import UsageError
from trainer.class_weights import check_class_weights
from trainer.heads import HeadOptions, require_range


@dataclass(frozen=True)
class FitOptions(HeadOptions):
    """`multi_label`: an item has any number of classes, each decided apart. `class_weights`: "balanced", or weights by class name."""

    multi_label: bool = False
    class_weights: str | Mapping[str, float] | None = None
    learning_rate: float = 1e-3
    batch_size: int | None = None  # None: 256, or as many rows as make 32 MiB of float32 features if these are fewer
    max_epochs: int = 200
    patience: int = 10  # epochs without a better validation loss before stopping
    test: float = 0.2  # share held out where no splits are given
    validation: float = 0.15  # share of the rest held out where no validation split is given
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_class_weights(self.class_weights)
        for name, low, high in (("learning_rate", 1e-9, 10), ("test", 0, 0.9), ("validation", 0, 0.9)):
            require_range(self, name, low, high)
        for name in ("batch_size", "max_epochs", "patience"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"seed must be from 0 to {2**31 - 1}, got {self.seed}")
