"""What a sweep found: every candidate with its numbers, the best first, and the head that was fitted with the winner's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite
from typing import Any

import numpy as np

from trainer.fitted import FittedHead
from trainer.head_progress import mean_epochs
from trainer.options import FitOptions
from trainer.sweep_interval import SeedInterval, method, over_seeds
from trainer.sweep_options import Range, SweepOptions
from trainer.sweep_plan import Rung, best_first
from trainer.sweep_state import Outcome

SWEEP_FORMAT = 1


@dataclass(frozen=True)
class CandidateResult:
    """`outcomes`: of its seeds, after the last rung that it reached; `metrics`: over them.

    `behind`: how much worse than the winner by the metric of the sweep, seed by seed, which have the same validation items: much surer
    than the difference of the two means. None for what did not get to the winner's rung.
    """

    number: int
    options: FitOptions
    rung: int
    outcomes: tuple[Outcome, ...]
    metrics: Mapping[str, SeedInterval]
    behind: SeedInterval | None

    @property
    def epochs(self) -> int:
        """For so long the winner is fitted again."""
        return mean_epochs([outcome.progress for outcome in self.outcomes])

    def chosen(self, names: Sequence[str]) -> dict[str, Any]:
        """Of its options those that a sweep can vary."""
        return {name: value for name, value in asdict(self.options).items() if name in names}

    def to_dict(self, seeds: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
        return {
            "candidate": self.number,
            "options": self.chosen(names),
            "metrics": {name: _interval(found) for name, found in self.metrics.items()},
            "behind_winner": _interval(self.behind) if self.behind else None,
            "epochs": self.epochs,
            "rung": self.rung,
            "seeds": [
                {
                    "seed": seeds[outcome.trial.seed],
                    "metrics": {name: _number(value) for name, value in outcome.metrics.items()},
                    "best_epoch": outcome.progress.best_epoch,
                    "trained_epochs": outcome.progress.epoch,
                    "val_loss": [_number(value) for value in outcome.progress.history["val_loss"]],
                }
                for outcome in self.outcomes
            ],
        }


@dataclass(frozen=True)
class SweepResult:
    """`fitted`: the winner on training and validation items together; its test numbers are the only ones taken."""

    fitted: FittedHead
    candidates: Sequence[CandidateResult]  # the best first; those of a later rung before all that were given up
    options: SweepOptions
    seeds: Sequence[int]
    rungs: Sequence[Rung]
    resampled: bool
    notes: Sequence[str] = ()

    @property
    def winner(self) -> CandidateResult:
        return self.candidates[0]

    @property
    def varied(self) -> list[str]:
        """Names of the options in which candidates differ."""
        names = self.options.names
        all_of = [candidate.chosen(names) for candidate in self.candidates]
        return [name for name in names if len({repr(options[name]) for options in all_of}) > 1]

    @property
    def interval(self) -> str:
        differ = "starts of hidden layers and the order of batches" if self.options.is_hybrid else "starts of hidden layers"
        return method(self.resampled, max(len(candidate.outcomes) for candidate in self.candidates), differ)

    def charted(self) -> list[dict[str, Any]]:
        """Candidates as the report shows them: what they differ in, and their validation by the metric that they are ranked by."""
        found = []
        for candidate in self.candidates:
            options, score = candidate.chosen(self.options.names), candidate.metrics[self.options.ranked_by]
            if isfinite(score.mean):
                told = {"metric": self.options.ranked_by, **ends_of(score, self.options.more_is_better)}
                found.append({**{name: options[name] for name in ("head", *self.varied)}, "validation": told})
        return found

    def to_dict(self) -> dict[str, Any]:
        """What sweep.json says: JSON without NaN; null is a number that a head did not give."""
        axes = {name: asdict(axis) if isinstance(axis, Range) else list(axis) for name, axis in self.options.axes.items()}
        fitted = self.fitted
        return {
            "format": SWEEP_FORMAT,
            "set": str(fitted.feature_set.name),
            "version": fitted.feature_set.version,
            "space_id": fitted.feature_set.space.id,
            "labels": fitted.labels.to_dict(),
            "rows_by_split": fitted.rows,
            "strategy": self.options.strategy,
            "axes": axes,
            "varied": self.varied,
            "metric": self.options.ranked_by,
            "more_is_better": self.options.more_is_better,
            "interval": self.interval,
            "seeds": list(self.seeds),
            "rungs": [asdict(rung) for rung in self.rungs],
            "candidates": [candidate.to_dict(self.seeds, self.options.names) for candidate in self.candidates],
            "winner": self.winner.number,
            "test": fitted.metrics["test"].to_dict() if "test" in fitted.metrics else None,
            "seconds": fitted.seconds,
        }


def ranked(
    outcomes: Mapping[int, Sequence[Outcome]],
    candidates: Sequence[FitOptions],
    rung_of: Mapping[int, int],
    options: SweepOptions,
    share: float | None,
) -> list[CandidateResult]:
    """Candidates, best first. share: validation / training items where seeds differ in them (sweep_interval.over_seeds)."""
    scores = {number: scores_of(found, candidates[number], options.ranked_by) for number, found in outcomes.items()}
    order = sorted(best_first(scores, options.more_is_better), key=lambda number: -rung_of[number])

    def values(number: int, metric: str) -> list[float]:
        return [outcome.metrics[metric] for outcome in outcomes[number]]

    def behind(number: int) -> SeedInterval | None:
        best, own = (np.array(values(one, options.ranked_by)) for one in (order[0], number))
        if rung_of[number] < rung_of[order[0]]:
            return None
        # One seed stands for all where the seeds of a candidate do not differ (sweep_plan.trials).
        lead = best - own if options.more_is_better else own - best
        return over_seeds(lead.tolist(), share)

    return [
        CandidateResult(
            number=number,
            options=candidates[number],
            rung=rung_of[number],
            outcomes=tuple(outcomes[number]),
            metrics={name: over_seeds(values(number, name), share) for name in outcomes[number][0].metrics},
            behind=behind(number),
        )
        for number in order
    ]


def scores_of(outcomes: Sequence[Outcome], candidate: FitOptions, metric: str) -> tuple[float, float, float]:
    """Means over the seeds of the metric, and of the log loss, which decides between equals; of those that still are, such as ridge heads
    that are as good as the items can tell, the largest alpha is the best, as in `train`."""
    named = [{**one.metrics, "log_loss": one.progress.told_loss or one.metrics["log_loss"]} for one in outcomes]
    means = [over_seeds([each[name] for each in named], None).mean for name in (metric, "log_loss")]
    return means[0], means[1], -(candidate.alpha or 0.0)


def ends_of(score: SeedInterval, is_share: bool) -> dict[str, float]:
    """Mean and interval, within what the metric can be: a share from 0 to 1, or the log loss."""
    half, most = score.half_width or 0.0, 1.0 if is_share else inf
    return {"mean": score.mean, "low": max(0.0, score.mean - half), "high": min(most, score.mean + half)}


def _interval(found: SeedInterval) -> dict[str, float | None]:
    return {"mean": _number(found.mean), "half_width": _number(found.half_width)}


def _number(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
