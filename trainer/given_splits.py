"""The splits that items or labels carry, as they are written there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.errors import UsageError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_SPELLINGS = {"train": TRAIN, "training": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}


@dataclass(frozen=True, eq=False)
class GivenSplits:
    """The split of each of n items: `names[codes[i]]`, or none where the code is -1. places: where each name was found, in words."""

    names: tuple[str, ...]
    codes: npt.NDArray[np.int64]
    places: tuple[str, ...] = ()

    @classmethod
    def of(cls, splits: Sequence[str | None]) -> GivenSplits:
        names = {name: i for i, name in enumerate(dict.fromkeys(name for name in splits if name))}
        return cls(tuple(names), np.array([names[name] if name else -1 for name in splits], np.int64))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def missing(self) -> int:
        """Items without a split."""
        return int((self.codes < 0).sum())

    @property
    def any(self) -> bool:
        return self.missing < len(self)

    def take(self, rows: npt.NDArray[np.int64]) -> GivenSplits:
        return GivenSplits(self.names, self.codes[rows], self.places)

    def numbers(self, order: Sequence[str], missing: str | None = None) -> npt.NDArray[np.int64]:
        """The place of each item's split in `order` [n]; of an item without one that of `missing`, or -1.

        Raises UsageError for a name that is none of train, validation and test, and says where it stands.
        """
        last = -1 if missing is None else order.index(missing)
        return np.array([*(order.index(self._normal(i)) for i in range(len(self.names))), last], np.int64)[self.codes]

    def _normal(self, number: int) -> str:
        try:
            return normal_split(self.names[number])
        except UsageError as error:
            raise UsageError(f"{self.places[number]}: {error}" if self.places else str(error)) from None

    def to_list(self) -> list[str | None]:
        return np.array([*self.names, None], object)[self.codes].tolist()  # type: ignore[no-any-return]


def normal_split(name: str) -> str:
    """train, validation or test, from any of their spellings; raises UsageError."""
    try:
        return _SPELLINGS[name.strip().lower()]
    except (KeyError, AttributeError):  # the latter of what is no text
        raise UsageError(f"unknown split {name!r}: expected train, validation (val, valid) or test") from None
