"""Exact heads in a sweep: all strengths of one seed and one weighting of the classes are one group.

Logistic regression goes along the path of its strengths; ridge has them all from one decomposition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from trainer.arrays import Numbers
from trainer.design import Design
from trainer.exact_fits import FitData
from trainer.head_progress import HeadState, Progress
from trainer.head_stack import Arrays
from trainer.linear_weights import LinearWeights
from trainer.logistic import TO_CHOOSE, TOLERANCE, LogisticPath, linear_loss
from trainer.many_heads import members
from trainer.options import FitOptions
from trainer.ridge import Ridge, ridge_targets, sums
from trainer.rows import MemoryRows
from trainer.score_temperature import temperatures
from trainer.standardise import Moments
from trainer.sweep_plan import Trial
from trainer.sweep_work import Way, Work


def _data(work: Work, options: FitOptions) -> FitData:
    return FitData(MemoryRows(work.data.features, work.data.views), work.data.y, work.data.classes, work.task, options)


def _logistic(work: Work, trials: Sequence[Trial], states: object, until: int, on_epoch: Callable[[int], None]) -> list[HeadState]:
    found, weights = _logistic_path(work, trials, TO_CHOOSE)
    return [_state(_in_frontend(work, found, weights[work.options(trial).c])) for trial in trials]


def _logistic_path(work: Work, trials: Sequence[Trial], tolerance: float) -> tuple[Moments, dict[float | None, LinearWeights]]:
    data = _data(work, work.options(trials[0]))
    numbers = _training(work, trials[0])
    rows = Design(data.rows, numbers, data.pooling)
    loss = linear_loss(data.y, len(data.classes), data.class_weights(numbers), rows, data.task.multi_label)
    path = LogisticPath(rows, loss, tolerance)
    strengths = sorted({c for trial in trials if (c := work.options(trial).c) is not None})
    return rows.moments, {c: path.solve(c).weights for c in strengths}


def _logistic_again(work: Work, trial: Trial, seeds: Sequence[Progress]) -> Arrays:
    found, weights = _logistic_path(work, [trial], TOLERANCE)
    return _in_frontend(work, found, weights[work.options(trial).c])


def _ridge(work: Work, trials: Sequence[Trial], states: object, until: int, on_epoch: Callable[[int], None]) -> list[HeadState]:
    """Scores become probabilities by a temperature fitted on the validation items of the seed."""
    data, found = _data(work, work.options(trials[0])), _ridge_of(work, trials[0])
    heads = found.path([_alpha(work, trial) for trial in trials])
    _, loss, scores = data.scores(np.flatnonzero(work.split.validation[:, trials[0].seed]), found.moments, heads)
    counts = int(tf.size(loss.weights))
    return [
        _state(_in_frontend(work, found.moments, head.times(factor)), factor, told and told / counts)
        for head, (factor, _, told) in zip(heads, temperatures(loss, scores), strict=True)
    ]


def _ridge_again(work: Work, trial: Trial, seeds: Sequence[Progress]) -> Arrays:
    """With the geometric mean of the seeds' temperatures: no item is left to fit one on."""
    found = _ridge_of(work, trial)
    factor = float(np.exp(np.mean([np.log(one.temperature) for one in seeds])))
    return _in_frontend(work, found.moments, found.one(_alpha(work, trial)).times(factor))


def _ridge_of(work: Work, trial: Trial) -> Ridge:
    data, numbers = _data(work, work.options(trial)), _training(work, trial)
    weights = data.class_weights(numbers)
    by_item = None if weights is None else weights[data.y.astype(np.int64)].astype(np.float32)
    return Ridge(*sums(data.rows, numbers, ridge_targets(data.y, len(data.classes)), data.pooling, by_item))


def _alpha(work: Work, trial: Trial) -> float:
    alpha = work.options(trial).alpha
    assert alpha is not None, "candidates have a strength (sweep_plan)"
    return alpha


def _training(work: Work, trial: Trial) -> Numbers:
    return members(work.split.training[:, trial.seed : trial.seed + 1])


def _state(best: Arrays, factor: float = 1.0, told: float | None = None) -> HeadState:
    return HeadState([], [], [], best, Progress(epoch=1, best_epoch=1, done=True, temperature=factor, told_loss=told))


def _in_frontend(work: Work, own: Moments, weights: LinearWeights) -> Arrays:
    """Kernel and bias for vectors as the frontend standardises them, of a head that has its own mean and spread."""
    moved = weights.moved(own, work.moments)
    return [moved.kernel.astype(np.float32), moved.bias.astype(np.float32)]


def _apart(options: FitOptions, trial: Trial) -> str:
    return f"{options.head}, seed {trial.seed}, class weights {options.class_weights}"


LOGISTIC = Way(_logistic, _logistic_again, _apart)
RIDGE = Way(_ridge, _ridge_again, _apart)
