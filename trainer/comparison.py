"""Two heads on the same items: which is better, by how much, and could that be chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, lgamma, log
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import UsageError
from trainer.intervals import Interval, percentile_interval, resampled, resampled_means

SEED = 0
NO, PERHAPS, YES = "no", "perhaps", "yes"
_LEARNED = {PERHAPS: "may have learned", YES: "has learned"}


@dataclass(frozen=True)
class Comparison:
    """By item [N]: whether each head is right, its loss, and its position in the items table of the first head's set. Differences are first
    minus second. seen: whether each head learned from these items, or some (NO, PERHAPS, YES), which favours it."""

    right: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]
    losses: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
    positions: npt.NDArray[np.int64]
    seen: tuple[str, str] = (NO, NO)

    def __post_init__(self) -> None:
        if len({len(values) for values in (*self.right, *self.losses, self.positions)}) != 1:
            raise UsageError("two heads are compared on the same items: these are of different ones")

    @property
    def rows(self) -> int:
        return len(self.right[0])

    @cached_property
    def only_first(self) -> npt.NDArray[np.int64]:
        """Which items the first head alone has right."""
        return np.flatnonzero(self.right[0] & ~self.right[1])

    @cached_property
    def only_second(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(~self.right[0] & self.right[1])

    @property
    def difference(self) -> float:
        """Of the accuracies."""
        return (len(self.only_first) - len(self.only_second)) / max(1, self.rows)

    @cached_property
    def interval(self) -> Interval:
        """95% of the difference, of paired resamples: an item is drawn for both heads or for none."""
        first, second = len(self.only_first), len(self.only_second)
        counts = np.array([first, second, self.rows - first - second])
        return percentile_interval(resampled(counts, lambda drawn: (drawn[:, 0] - drawn[:, 1]) / self.rows, SEED))

    @cached_property
    def loss_difference(self) -> tuple[float, Interval]:
        gaps = self.losses[0] - self.losses[1]
        return float(gaps.mean()), percentile_interval(resampled_means(gaps, SEED))

    @property
    def p_value(self) -> float:
        return mcnemar(len(self.only_first), len(self.only_second))

    def verdict(self, first: str = "the first head", second: str = "the second head") -> str:
        """In words, with names for the two. None where the head with the better numbers may have learned from the items."""
        told = " and ".join(
            f"{name} {_LEARNED[seen]} from some of these items" for name, seen in zip((first, second), self.seen, strict=True) if seen != NO
        )
        differ, better = self.p_value < 0.05, int(self.difference < 0)
        numbers = f"no difference that {self.rows} items could show (p = {self.p_value:.2g})"
        if differ:
            numbers = f"{(first, second)[better]} is better (p = {self.p_value:.2g})"
        if not told:
            return numbers
        if differ and self.seen[better] == NO:
            return f"{numbers}, although {told}"
        return f"no verdict, as {told}; by the numbers alone: {numbers}"

    def to_dict(self, keys: Sequence[str] = ()) -> dict[str, Any]:
        """keys: of the items, for those on which the heads differ."""
        loss, loss_interval = self.loss_difference
        return {
            "rows": self.rows,
            "accuracy_difference": self.difference,
            "accuracy_difference_interval": list(self.interval),
            "log_loss_difference": loss,
            "log_loss_difference_interval": list(loss_interval),
            "mcnemar_p": self.p_value,
            "only_first_right": len(self.only_first),
            "only_second_right": len(self.only_second),
            "verdict": self.verdict(),
            "learned_from_items": dict(zip(("first", "second"), self.seen, strict=True)),
            "only_first_right_keys": [keys[i] for i in self.only_first] if keys else [],
            "only_second_right_keys": [keys[i] for i in self.only_second] if keys else [],
        }


def mcnemar(first: int, second: int) -> float:
    """Exact two-sided p-value of McNemar's test: a fair coin thrown for each of the items on which two heads differ.

    The sum of Binomial(n, 1/2) up to the smaller count, twice, in logarithms: 2 ** -n is zero in float64 from n = 1,075 on.
    """
    total, least = first + second, min(first, second)
    terms = [lgamma(total + 1) - lgamma(k + 1) - lgamma(total - k + 1) - total * log(2) for k in range(least + 1)]
    highest = max(terms)
    return min(1.0, 2 * exp(highest) * sum(exp(term - highest) for term in terms))
