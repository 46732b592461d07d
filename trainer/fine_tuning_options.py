"""How to fine-tune: learning rates by depth, what is trained when, augmentation, precision."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from storage.asked import check_fields
from storage.errors import UsageError
from trainer.augmentation import Augmentation
from trainer.heads import require_range

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}  # our name -> Keras' policy


@dataclass(frozen=True)
class FineTuningOptions:
    """The layers of the network are divided into `groups` by depth. The head learns at `learning_rate`, the last group at `rate_decay`
    times that, the one before at rate_decay ** 2, and so on.

    stages: epochs at most in which the head alone is trained, then those with the last group, then with the last two, ...; after
    these all is trained (`trainer.unfreezing`). precision: what is computed in; weights, head and loss stay
    float32, and so does the head that is kept.
    """

    learning_rate: float = 3e-4  # of Adam
    rate_decay: float = 0.5
    groups: int = 3
    stages: tuple[int, ...] = (0, 1)
    batch_size: int = 32  # over all devices
    max_epochs: int = 20
    patience: int = 5  # epochs of a stage without a better validation loss
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: str = "float32"
    train_batch_norm: bool = False  # statistics and scales of BatchNorm layers move, too
    weight_decay: float = 0.0  # decoupled (AdamW), of kernels alone
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        require_range(self, "learning_rate", 1e-9, 10)
        require_range(self, "rate_decay", 1e-3, 1)
        require_range(self, "weight_decay", 0, 1)
        require_range(self, "label_smoothing", 0, 0.9)
        for name in ("groups", "batch_size", "max_epochs", "patience"):
            require_range(self, name, 1, 1e6)
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}; got {self.precision!r}")
        if len(self.stages) > self.groups or not all(n >= 0 for n in self.stages):
            raise UsageError(
                f"stages are the epochs of the head alone, then with each further group, at most {self.groups} numbers of 0 or more; "
                f"got {','.join(map(str, self.stages))}"
            )

    def for_items(self, count: int, devices: int) -> Self:
        """With batches of all training items at most, in equal shares: larger ones would be filled up with the same items again. Raises
        UsageError for batches that cannot be shared."""
        share = max(1, devices)
        size = min(self.batch_size, -(-count // share) * share)
        if size % share:
            raise UsageError(f"--batch-size must be a multiple of the {devices} devices, got {size}")
        return replace(self, batch_size=size)

    def for_depth(self, layers: int) -> Self:
        """With no more groups than the network has layers with weights. Raises UsageError for a network that has none."""
        if not layers:
            raise UsageError(
                "the network has no layers with weights up to where the set was cut, so fine-tuning has nothing to train: extract a set "
                "with a later --layer, or train the head alone (--strategy feature-extraction)"
            )
        groups = min(self.groups, layers)
        return replace(self, groups=groups, stages=self.stages[:groups])

    def rate(self, group: int) -> float:
        """group: 0 is the head, 1 the last of the network."""
        return self.learning_rate * self.rate_decay**group
