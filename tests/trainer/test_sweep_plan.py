from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import UsageError
from trainer.options import FitOptions
from trainer.sweep_options import Range, SweepOptions
from trainer.sweep_plan import Trial, best_first, candidates, going_on, groups, rungs, trials
from trainer.tails import HYBRID

BOTH = ("linear", "mlp")
values = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=5, unique=True).map(tuple)


@given(c=values, rates=values)
def test_a_grid_holds_each_combination_once(c: tuple[float, ...], rates: tuple[float, ...]) -> None:
    rates = tuple(min(rate, 10.0) for rate in rates if rate <= 10.0) or (0.1,)
    found = candidates(SweepOptions(axes={"c": c, "learning_rate": rates}))
    assert {(one.c, one.learning_rate) for one in found} == {(a, b) for a in c for b in rates}
    assert len(found) == len(c) * len(rates)


def test_options_of_hidden_layers_are_tried_with_hidden_layers_alone() -> None:
    found = candidates(SweepOptions(axes={"head": BOTH, "c": (0.1, 1.0), "hidden": ((8,), (16, 8)), "dropout": (0.0, 0.5)}))
    assert [one.head for one in found] == ["linear"] * 2 + ["mlp"] * 8
    assert all(one.hidden == () for one in found[:2])


def test_what_has_no_axis_is_as_in_the_base() -> None:
    base = FitOptions("mlp", hidden=(4,), dropout=0.1, class_weights="balanced", seed=3)
    assert candidates(SweepOptions(base, {"c": (0.1,)})) == [replace(base, c=0.1)]
    axes = {"head": ("linear",), "learning_rate": (0.1,)}
    assert candidates(SweepOptions(base, axes)) == [FitOptions("linear", class_weights="balanced", seed=3, learning_rate=0.1)]


def test_a_head_that_no_axis_is_for_has_the_default_ones() -> None:
    found = candidates(SweepOptions(axes={"head": BOTH, "hidden": ((4,), (8,))}))
    assert [(one.head, one.c, one.hidden) for one in found] == [
        *(("linear", c, ()) for c in (0.0001, 0.001, 0.01, 0.1, 1.0)),
        ("mlp", None, (4,)),
        ("mlp", None, (8,)),
    ]
    assert {one.learning_rate for one in candidates(SweepOptions(budget=3))} != {None}


@given(budget=st.integers(1, 40), seed=st.integers(0, 1000))
def test_draws_are_as_many_as_asked_for_in_range_and_drawn_by_the_seed(budget: int, seed: int) -> None:
    axes = {"head": BOTH, "c": Range(1e-4, 10), "dropout": Range(0.0, 0.5), "hidden": ((8,), (16,))}
    options = SweepOptions(FitOptions(seed=seed), axes, budget=budget)
    found = candidates(options)
    assert len(found) == budget == len({repr(one) for one in found})
    assert all(one.c is not None and 1e-4 <= one.c <= 10 and one.dropout <= 0.5 for one in found)
    assert found == candidates(options)


@given(budget=st.integers(1, 12))
def test_a_budget_for_a_small_grid_takes_all_or_some_of_it(budget: int) -> None:
    axes = {"c": (0.1, 1.0, 10.0), "learning_rate": (0.1, 0.01)}
    found = candidates(SweepOptions(axes=axes, budget=budget))
    assert len(found) == min(budget, 6)
    assert {repr(one) for one in found} <= {repr(one) for one in candidates(SweepOptions(axes=axes))}


def test_a_search_with_a_budget_begins_with_what_train_does() -> None:
    base = FitOptions()
    axes = {"head": BOTH, "c": Range(1e-4, 10), "learning_rate": Range(1e-4, 0.1), "dropout": Range(0.0, 0.5), "hidden": ((8,), (128,))}
    first = candidates(SweepOptions(base, axes, budget=9))[:2]
    assert [one.for_features((16,)) for one in first] == [replace(base, head=head).for_features((16,)) for head in BOTH]
    assert candidates(SweepOptions(base, axes, budget=1)) == first[:1]
    whole = candidates(SweepOptions(axes={"c": (0.001, 0.01, 0.1)}, budget=9))
    assert [one.c for one in whole] == [0.01, 0.001, 0.1], "of a small grid, too"


@pytest.mark.parametrize(
    ("axis", "start"),
    [
        ({"c": Range(0.1, 10)}, 0.1),
        ({"c": (0.03, 1.0)}, 0.03),
        ({"learning_rate": Range(0.01, 0.1)}, 0.01),
        ({"learning_rate": Range(0.0001, 0.1)}, None),
        ({"class_weights": ("balanced",)}, "balanced"),
        ({"weight_decay": (0.1, 0.01)}, 0.01),
        ({"train_last": (0, 11, 20)}, 20),
        ({"train_last": (0,)}, 0),
        ({"tail_learning_rate": Range(1e-5, 1e-3)}, 1e-4),
        ({"hidden": ((8,), (16,))}, (8,)),
    ],
)
def test_what_may_not_be_tried_is_not_what_it_begins_with(axis: dict[str, object], start: object) -> None:
    """But what is nearest to it."""
    [(name, values)] = axis.items()
    head = "mlp" if name == "hidden" else "linear"
    first, *_ = candidates(SweepOptions(FitOptions(head), {name: values}, budget=1, strategy=HYBRID))  # type: ignore[dict-item]
    assert getattr(first, name) == start


@given(budget=st.integers(1, 60), epochs=st.integers(1, 500), scores=st.randoms())
def test_what_it_begins_with_is_never_given_up(budget: int, epochs: int, scores: Random) -> None:
    options = SweepOptions(axes={"head": BOTH, "c": Range(1e-4, 10)}, budget=budget)
    here = list(range(budget))
    first, *others = rungs(budget, epochs, options.eta, options.staying)
    assert first.candidates == budget
    for number, rung in enumerate(others, 1):
        best = scores.sample(here, len(here))
        here = going_on(best, rung, options.staying)
        assert len(set(here)) == rung.candidates == min(budget, options.staying + budget // options.eta**number)
        assert set(range(options.staying)) <= set(here)
        others_going = [one for one in best if one >= options.staying]
        assert set(here) - set(range(options.staying)) == set(others_going[: rung.candidates - options.staying])


def test_a_grid_that_nobody_meant_is_refused() -> None:
    many = tuple(0.001 * i for i in range(1, 200))
    with pytest.raises(UsageError, match=r"the grid has 39601 candidates, more than 10000"):
        candidates(SweepOptions(axes={"c": many, "learning_rate": many}))


@given(count=st.integers(1, 2000), epochs=st.integers(1, 500), eta=st.integers(2, 5))
def test_halving_gives_fewer_candidates_more_epochs_and_no_rung_more_than_its_share(count: int, epochs: int, eta: int) -> None:
    plan = rungs(count, epochs, eta)
    assert (plan[0].candidates, plan[-1].epochs) == (count, epochs)
    assert all(rung.epochs >= 1 and rung.candidates >= 1 for rung in plan)
    for before, after in pairwise(plan):
        assert before.epochs < after.epochs
        assert after.candidates == count // eta ** (plan.index(after)) <= before.candidates / eta + 1e-9 + 1
    # Each rung may cost as much as the first, up to rounding to whole epochs.
    first = count * max(1, epochs / eta ** (len(plan) - 1))
    assert all(rung.candidates * rung.epochs <= first * 1.5 for rung in plan)
    assert plan[-1].candidates < eta or epochs / eta ** (len(plan) - 1) < eta


@given(count=st.integers(1, 50), epochs=st.integers(1, 3000))
def test_a_grid_keeps_its_state_ever_more_rarely_and_drops_nobody(count: int, epochs: int) -> None:
    plan = rungs(count, epochs, None)
    assert plan[-1].epochs == epochs
    assert {rung.candidates for rung in plan} == {count}
    assert all(before.epochs < after.epochs for before, after in pairwise(plan))
    assert len(plan) <= 10


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=40), kinds=st.integers(1, 3), limit=st.integers(1, 120))
def test_every_trial_is_in_one_group_of_its_kind_and_groups_fit(sizes: list[int], kinds: int, limit: int) -> None:
    these = [Trial(i, 0) for i in range(len(sizes))]
    found = groups(these, lambda trial: str(trial.candidate % kinds), lambda trial: sizes[trial.candidate], limit)
    assert sorted(trial for group in found for trial in group) == these
    for group in found:
        assert len({trial.candidate % kinds for trial in group}) == 1
        assert len(group) == 1 or sum(sizes[trial.candidate] for trial in group) <= limit


def test_a_seed_that_decides_nothing_is_not_run_again() -> None:
    found = candidates(SweepOptions(axes={"head": BOTH, "c": (0.1,)}))
    assert trials(found, 3, by_seed=True) == [Trial(i, seed) for i in (0, 1) for seed in (0, 1, 2)]
    assert trials(found, 3, by_seed=False) == [Trial(0, 0), Trial(1, 0), Trial(1, 1), Trial(1, 2)]


@given(scores=st.dictionaries(st.integers(0, 30), st.tuples(st.floats(), st.floats()), max_size=20), more=st.booleans())
def test_the_best_come_first_and_what_is_no_number_last(scores: dict[int, tuple[float, float]], more: bool) -> None:
    order = best_first(scores, more)
    assert sorted(order) == sorted(scores)
    metric = [scores[number][0] for number in order]
    finite = [value for value in metric if abs(value) < float("inf")]
    assert finite == sorted(finite, reverse=more)
    assert all(abs(value) < float("inf") for value in metric[: len(finite)])


def test_equal_metrics_are_told_apart_by_the_log_loss() -> None:
    assert best_first({0: (0.9, 0.5), 1: (0.9, 0.3), 2: (0.8, 0.1), 3: (float("nan"), 0.0)}, True) == [1, 0, 2, 3]


def test_what_is_equal_in_all_that_comes_first_is_told_apart_by_the_last() -> None:
    scores = {0: (0.9, 0.3, -1.0), 1: (0.9, 0.3, -10.0), 2: (0.9, 0.2, 0.0), 3: (0.8, 0.1, -100.0), 4: (0.9, 0.3, -1.0)}
    assert best_first(scores, True) == [2, 1, 0, 4, 3]
