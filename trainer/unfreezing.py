"""When the groups of layers are opened: stage after stage, each until its epochs are over or validation gets no better."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.checkpoint import Progress
from trainer.fine_tuning_options import FineTuningOptions


@dataclass(frozen=True)
class NextEpoch:
    """open_groups: how many, from the end of the network, are trained beside the head. from_best: patience ended the stage before, and this
    one begins with the best weights so far."""

    open_groups: int
    from_best: bool = False


def next_epoch(options: FineTuningOptions, progress: Progress) -> NextEpoch | None:
    """What the epoch after the finished ones trains; None: there is none, as max_epochs are over, or patience in the last stage."""
    if progress.epochs >= options.max_epochs:
        return None
    stages = [opened for opened, epochs in enumerate(options.stages) if epochs] + [options.groups]
    if not progress.open_groups:
        return NextEpoch(stages[0])
    now = progress.open_groups[-1]
    in_stage = progress.open_groups.count(now)
    # A stage may take as long as another one to get better than what was before it.
    waited = min(in_stage, progress.epochs - progress.best_epoch) if progress.best_epoch else 0
    ended = waited >= options.patience
    if now == options.groups:
        return None if ended else NextEpoch(now)
    if ended or in_stage >= options.stages[now]:
        return NextEpoch(stages[stages.index(now) + 1], ended)
    return NextEpoch(now)
