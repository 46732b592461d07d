"""Where a stream of batches is: what to keep beside a checkpoint, to go on with the very next batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from storage.asked import check_fields, checked
from storage.errors import UsageError


@dataclass(frozen=True)
class Position:
    """The batch that comes next, counted from 0 in its epoch, of the stream of a dataset (its digest) by a seed (None: not shuffled)."""

    dataset: str
    seed: int | None
    epoch: int = 0
    batch: int = 0

    def __post_init__(self) -> None:
        check_fields(self, **{name: f"the {name} of a position" for name in ("dataset", "seed", "epoch", "batch")})
        for name in ("epoch", "batch"):
            if (value := getattr(self, name)) < 0:
                raise UsageError(f"the {name} of a position must be a number from 0 on, got {value!r}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    @checked(values="a saved position")
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From what `to_dict` gave, perhaps by way of JSON. Raises UsageError."""
        if set(values) != {"dataset", "seed", "epoch", "batch"}:
            raise UsageError(f"a position has dataset, seed, epoch and batch; got {', '.join(map(str, values)) or 'nothing'}")
        return cls(**values)

    @classmethod
    def of(cls, start: Self | Mapping[str, Any]) -> Self:
        """A position, or what its `to_dict` gave. Raises UsageError."""
        return cls.from_dict(start) if isinstance(start, Mapping) else start

    def after(self, batches: int, per_epoch: int) -> Self:
        """The position so many batches later."""
        epochs, batch = divmod(self.batch + batches, per_epoch)
        return type(self)(self.dataset, self.seed, self.epoch + epochs, batch)
