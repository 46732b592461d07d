"""The plan of a sweep, as pure functions: its candidates, its rungs, what is fitted together, and who goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice, product
from math import exp, log, prod
from typing import Any

import numpy as np

from storage.errors import UsageError
from trainer.heads import HEADS
from trainer.options import FitOptions
from trainer.sweep_options import (
    DEFAULT_GRID,
    DEFAULT_RANGES,
    LOGARITHMIC,
    MAX_CANDIDATES,
    OF_SOME_HEADS,
    OF_TAIL,
    STRENGTHS,
    Axis,
    Range,
    SweepOptions,
    takes,
)
from trainer.sweep_start import start_values

FIRST_STOP = 10  # epochs of a grid until its state is kept for the first time
DIGITS = 3  # of a drawn number: more of them say nothing, and are in the way when it is typed again
TRIES = 100  # draws for each candidate, where heads of few values may be drawn again and again


@dataclass(frozen=True, order=True)
class Trial:
    """One candidate with one seed: numbers in the lists of both."""

    candidate: int
    seed: int


@dataclass(frozen=True)
class Rung:
    """Train so many candidates up to so many epochs, counted from the start."""

    epochs: int
    candidates: int


def candidates(options: SweepOptions) -> list[FitOptions]:
    """All of the grid, or `budget` draws, each once; with a budget first what `train` does by itself, once a head (sweep_start). The same
    options give the same list. Raises UsageError for values out of range."""
    axes = {head: _axes_of(head, options) for head in options.heads}
    sizes = [prod(len(axis) if isinstance(axis, tuple) else 0 for axis in own.values()) for own in axes.values()]
    finite = not any(isinstance(axis, Range) for own in axes.values() for axis in own.values())
    if finite and options.budget is None and sum(sizes) > MAX_CANDIDATES:
        raise UsageError(f"the grid has {sum(sizes)} candidates, more than {MAX_CANDIDATES}: take fewer values, or draw some with a budget")
    first = [_candidate(options.base, head, start_values(head, options.base, own)) for head, own in axes.items()] if options.budget else []
    if finite and (options.budget is None or sum(sizes) <= options.budget):
        grid = (_candidate(options.base, head, values) for head, own in axes.items() for values in _grid(own))
        return list(_each_once(chain(first, grid)))
    assert options.budget is not None, "options with a range have a budget"
    return list(islice(_each_once(chain(first, _draws(options.base, axes, options.budget))), options.budget))


def _axes_of(head: str, options: SweepOptions) -> dict[str, Axis]:
    """The axes that mean something for a head; the default ones where none does, and of a strength that a head finds by itself."""
    own, default = (
        {name: axis for name, axis in axes.items() if name != "head" and takes(head, name)}
        for axes in (options.axes, DEFAULT_RANGES if options.budget else DEFAULT_GRID)
    )
    by_itself = {name: axis for name, axis in default.items() if name in STRENGTHS and not _has(head, options.base, name)}
    return {**by_itself, **own} if own else default


def _has(head: str, base: FitOptions, name: str) -> bool:
    """Whether a head has the strength without an axis."""
    return getattr(base, name) is not None or head not in HEADS or getattr(HEADS[head], name, None) is not None


def _grid(axes: Mapping[str, Axis]) -> Iterable[dict[str, Any]]:
    lists = [axis for axis in axes.values() if isinstance(axis, tuple)]
    return (dict(zip(axes, values, strict=True)) for values in product(*lists))


def _draws(base: FitOptions, axes: Mapping[str, Mapping[str, Axis]], count: int) -> Iterator[FitOptions]:
    """More than enough for so many that differ."""
    random, heads = np.random.default_rng(base.seed), list(axes)
    for _ in range(TRIES * count):
        head = heads[random.integers(len(heads))]
        yield _candidate(base, head, {name: _draw(random, name, axis) for name, axis in axes[head].items()})


def _each_once(found: Iterable[FitOptions]) -> Iterator[FitOptions]:
    known: set[str] = set()
    for candidate in found:
        if (text := json.dumps(asdict(candidate), sort_keys=True)) not in known:
            known.add(text)
            yield candidate


def _draw(random: np.random.Generator, name: str, axis: Axis) -> Any:
    if isinstance(axis, tuple):
        return axis[random.integers(len(axis))]
    logarithmic = name in LOGARITHMIC
    number = exp(random.uniform(log(axis.low), log(axis.high))) if logarithmic else random.uniform(axis.low, axis.high)
    return min(max(float(f"{number:.{DIGITS}g}"), axis.low), axis.high)


def _candidate(base: FitOptions, head: str, values: Mapping[str, Any]) -> FitOptions:
    plain = FitOptions()
    alien = [name for name in OF_SOME_HEADS if not takes(head, name)]
    without_tail = OF_TAIL if values.get("train_last", base.train_last) == 0 else ()
    given = {**values, **{name: getattr(plain, name) for name in without_tail}}
    return replace(base, **{"head": head, **{name: getattr(plain, name) for name in alien}, **given})


def trials(found: Sequence[FitOptions], seeds: int, by_seed: bool) -> list[Trial]:
    """Each candidate with each seed; with the first alone where a seed decides nothing: no hidden layers, and (not `by_seed`) the
    validation items are given and the order of the batches is the same."""
    return [Trial(i, seed) for i, options in enumerate(found) for seed in range(seeds if by_seed or HEADS[options.head].hidden else 1)]


def rungs(count: int, max_epochs: int, eta: int | None, staying: int = 0) -> list[Rung]:
    """Successive halving (Jamieson and Talwalkar, AISTATS 2016): of `eta` candidates one goes on to `eta` times the epochs, the last to
    `max_epochs`, and beside them the first `staying` of all. eta None: all go on; the rungs are the epochs at which their state is kept,
    twice as many each time."""
    if eta is None:
        stops = [FIRST_STOP * 2**i for i in range(max_epochs.bit_length()) if FIRST_STOP * 2**i < max_epochs]
        return [Rung(epochs, count) for epochs in [*stops, max_epochs]]
    cuts = 0
    while eta ** (cuts + 1) <= min(count, max_epochs):
        cuts += 1
    return [Rung(round(max_epochs / eta ** (cuts - i)), min(count, staying + count // eta**i)) for i in range(cuts + 1)]


def going_on(best: Sequence[int], rung: Rung, staying: int) -> list[int]:
    """Who goes on to the rung: the first `staying` of all candidates, and the best of the others."""
    return [*range(staying), *(number for number in best if number >= staying)][: rung.candidates]


def groups(these: Sequence[Trial], kind: Callable[[Trial], str], size: Callable[[Trial], int], limit: int) -> list[tuple[Trial, ...]]:
    """Trials that are fitted together: of one kind, and within `limit` bytes unless one alone is larger."""
    by_kind: dict[str, list[list[Trial]]] = {}
    room: dict[str, int] = {}
    for trial in these:
        name = kind(trial)
        if name not in by_kind or size(trial) > room[name]:
            by_kind.setdefault(name, []).append([])
            room[name] = limit
        by_kind[name][-1].append(trial)
        room[name] -= size(trial)
    return [tuple(group) for found in by_kind.values() for group in found]


def best_first(scores: Mapping[int, tuple[float, ...]], more_is_better: bool) -> list[int]:
    """Candidates by (mean of the metric, and what decides between equals: mean log loss, ..., the less the better), the best first; equal
    ones in their order, numbers that are none last."""

    def rank(candidate: int) -> tuple[float, ...]:
        metric, *others = scores[candidate]
        costs = (-metric if more_is_better else metric, *others)
        return (*(cost if np.isfinite(cost) else np.inf for cost in costs), candidate)

    return sorted(scores, key=rank)
