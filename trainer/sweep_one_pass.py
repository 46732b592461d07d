"""Linear heads and MLPs in a sweep: Adam for all of a group at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trainer.head_progress import HeadState, Progress, mean_epochs
from trainer.head_stack import Architecture, Arrays
from trainer.many_heads import Stack, train
from trainer.sweep_plan import Trial
from trainer.sweep_work import Way, Work


def _in_one_pass(
    work: Work, trials: Sequence[Trial], states: Sequence[HeadState | None], until: int, on_epoch: Callable[[int], None]
) -> list[HeadState]:
    """One stack for each architecture; all of them share the batches."""
    begun = [
        state or HeadState.of(work.architecture(trial).start(work.seeds[trial.seed])) for trial, state in zip(trials, states, strict=True)
    ]
    by_architecture: dict[Architecture, list[int]] = {}
    for i, trial in enumerate(trials):
        by_architecture.setdefault(work.architecture(trial), []).append(i)
    stacks = [
        Stack(architecture, [work.spec(trials[i]) for i in members], [begun[i] for i in members])
        for architecture, members in by_architecture.items()
    ]
    train(work.training_data, stacks, until, work.base.patience, on_epoch)
    return begun


def _for_the_best_epochs(work: Work, trial: Trial, seeds: Sequence[Progress]) -> Arrays:
    [state] = _in_one_pass(work, [trial], [None], mean_epochs(seeds), lambda epoch: None)
    return state.best


ONE_PASS = Way(_in_one_pass, _for_the_best_epochs, kind=lambda options, trial: "one pass")
