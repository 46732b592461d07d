"""The way of a sweep's candidates up the rungs: train, measure on validation, keep the state, let the best go on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from storage.errors import DivergedError
from trainer.head_progress import HeadState
from trainer.sweep_options import METRICS, MULTI_LABEL_METRICS, SweepOptions
from trainer.sweep_plan import Rung, Trial, best_first, going_on, groups, trials
from trainer.sweep_result import CandidateResult, ranked, scores_of
from trainer.sweep_state import GROUP, Outcome, SweepState
from trainer.sweep_work import SweepWork

GROUP_BYTES = 1 << 30  # 1 GiB for the heads that train together, with all that Adam keeps of them

OnProgress = Callable[[int, int], None]


@dataclass
class Climb:
    """The candidates on their way up the rungs."""

    work: SweepWork
    options: SweepOptions
    plan: Sequence[Rung]
    state: SweepState
    on_progress: OnProgress

    def run(self) -> list[CandidateResult]:
        """All candidates, best first. Each is measured once a rung, after it; one that is done is carried on as it is."""
        everyone = trials(self.work.candidates, len(self.work.seeds), self.work.by_seed)
        staying = list(range(len(self.work.candidates)))
        latest: dict[Trial, Outcome] = {}
        rung_of: dict[int, int] = {}
        self._count = _Count(self.on_progress, everyone, self.plan, self.options.exact)
        for number, rung in enumerate(self.plan):
            staying = going_on(self._best(latest, staying), rung, self.options.staying) if number else staying
            chosen = set(staying)
            here = [trial for trial in everyone if trial.candidate in chosen]
            done = {trial for trial in here if trial in latest and latest[trial].progress.done}
            self._count.skip(number, done)
            for name, group in self._groups(number, [trial for trial in here if trial not in done]):
                latest |= {outcome.trial: outcome for outcome in self._outcomes(name, group, number, latest)}
            rung_of |= dict.fromkeys(staying, number)
            if not np.isfinite([latest[trial].metrics["log_loss"] for trial in here]).any():
                raise DivergedError("training diverged with every candidate: none gives numbers. Try smaller learning rates")
        self._count.tell()
        by_candidate = _by_candidate(latest)
        return ranked(by_candidate, self.work.candidates, rung_of, self.options, self.work.split.validation_share)

    def _best(self, latest: Mapping[Trial, Outcome], among: Sequence[int]) -> list[int]:
        outcomes = _by_candidate(latest)
        scores = {number: scores_of(outcomes[number], self.work.candidates[number], self.options.ranked_by) for number in among}
        return best_first(scores, self.options.more_is_better)

    def _groups(self, rung: int, these: Sequence[Trial]) -> Iterator[tuple[str, tuple[Trial, ...]]]:
        found = groups(these, self.work.kind, self.work.bytes_of, GROUP_BYTES)
        return ((f"{GROUP}{rung:02d}-group-{i:04d}", group) for i, group in enumerate(found))

    def _outcomes(self, name: str, group: Sequence[Trial], rung: int, latest: Mapping[Trial, Outcome]) -> list[Outcome]:
        """Of a group at the end of a rung: those in the state, or new ones, which are put there."""
        if self.state.get(name) is None:
            self._fit(name, group, rung, latest)
        self._count.skip(rung, group)
        found = self.state.get(name)
        assert found is not None, "it was just put there"
        return found

    def _fit(self, name: str, group: Sequence[Trial], rung: int, latest: Mapping[Trial, Outcome]) -> None:
        self._count.tell()
        before = [self.state.weights_of(latest[trial]) if trial in latest else None for trial in group]
        states = self.work.fit(group, before, self.plan[rung].epochs, lambda epoch: self._count.show(rung, group, epoch))
        trained = dict(zip(group, states, strict=True))
        self.state.put(name, trained, _measured(self.work, trained), last=rung == len(self.plan) - 1)


class _Count:
    """Progress in epochs of heads, over all rungs; in heads, where all are exact, which are found in the first rung. What a state holds
    already is told at once, before the first that is new."""

    def __init__(self, on_progress: OnProgress, everyone: Sequence[Trial], plan: Sequence[Rung], exact: bool) -> None:
        self._on_progress, self._plan, self._exact, self._done, self._begun = on_progress, plan, exact, 0, False
        self._told = 0
        a_candidate = len(everyone) / plan[0].candidates
        self._total = round(sum(rung.candidates * self._epochs(i) for i, rung in enumerate(plan)) * a_candidate)

    def _epochs(self, rung: int) -> int:
        if self._exact:
            return 0 if rung else 1
        return self._plan[rung].epochs - (self._plan[rung - 1].epochs if rung else 0)

    def show(self, rung: int, group: Sequence[Trial], epoch: int) -> None:
        came_from = self._plan[rung].epochs - self._epochs(rung)
        self._on_progress(min(self._total, self._done + len(group) * (epoch - came_from)), self._total)

    def skip(self, rung: int, group: Collection[Trial]) -> None:
        """The group needs no more in this rung."""
        self._done += len(group) * self._epochs(rung)
        if self._begun:
            self.tell()

    def tell(self) -> None:
        if not self._begun or self._done > self._told:
            self._on_progress(min(self._total, self._done), self._total)
        self._begun, self._told = True, self._done


def _by_candidate(latest: Mapping[Trial, Outcome]) -> dict[int, list[Outcome]]:
    found: dict[int, list[Outcome]] = {}
    for trial in sorted(latest):
        found.setdefault(trial.candidate, []).append(latest[trial])
    return found


def _measured(work: SweepWork, trained: Mapping[Trial, HeadState]) -> dict[Trial, dict[str, float]]:
    """The best weights of each trial on its validation items; NaN for one that gives no numbers."""
    names = MULTI_LABEL_METRICS if work.task.multi_label else METRICS
    evaluations = work.measure(list(trained), [state.best for state in trained.values()])
    metrics: dict[Trial, dict[str, float]] = {}
    for (trial, state), found in zip(trained.items(), evaluations, strict=True):
        described = found.to_dict() if found and state.progress.gave_numbers else dict.fromkeys(names, float("nan"))
        metrics[trial] = {name: float(described[name]) for name in names}
    return metrics
