from __future__ import annotations

from dataclasses import replace

import pytest

from extractor.cut_plan import Budget, CutCost, CutRate, HybridWork, best, candidates, plan, to_measure
from extractor.cuts import Cut


def make_cut(layer: str, values: int, behind: int, flops: int, is_random: bool = False) -> Cut:
    """Of a network of 100 parameters and 1000 FLOPs."""
    return Cut(layer, f"{layer}_1", "Layer", (values,), 100 - behind, behind, behind, flops, 1000 - flops, 1, is_random)


CUTS = [
    make_cut("a", 400, 90, 100),
    make_cut("a_pool", 100, 90, 100),
    make_cut("b", 80, 60, 400),
    make_cut("c", 60, 30, 700),
    make_cut("c_drop", 60, 30, 700, is_random=True),
    make_cut("end", 10, 0, 1000),
]
RATES = [CutRate(CUTS[1], 0.1, 0.9, 0.2), CutRate(CUTS[3], 0.7, 0.3, 0.1)]
WORK = HybridWork(images=10, train=6, validation=2, epochs=5)


def costs_of_three() -> dict[str, CutCost]:
    return {cost.cut.layer: cost for cost in plan([CUTS[1], CUTS[2], CUTS[3]], RATES, 0.01, WORK, "float16")}


def test_candidates_have_something_behind_and_are_the_cheapest_of_their_like() -> None:
    assert [cut.layer for cut in candidates(CUTS, "float16")] == ["a_pool", "b", "c", "c_drop"]


def test_batch_norm_that_is_not_trained_makes_no_candidate_of_its_own() -> None:
    conv, norm, relu = make_cut("conv", 80, 60, 400), make_cut("norm", 80, 58, 400), make_cut("relu", 80, 58, 400)
    assert [cut.layer for cut in candidates([replace(conv, trained_behind=58), norm, relu], "float16")] == ["relu"]
    assert not candidates([replace(conv, trained_behind=0), make_cut("end", 10, 0, 1000)], "float16")


def test_what_is_measured_is_even_in_flops_and_has_both_ends() -> None:
    found = candidates(CUTS, "float16")
    assert [cut.layer for cut in to_measure(found, 2)] == ["a_pool", "c"]
    assert [cut.layer for cut in to_measure(found, 3)] == ["a_pool", "b", "c"]
    assert to_measure(found, 9) == found


def test_the_work_is_two_fits_of_the_images_that_are_not_held_out() -> None:
    assert HybridWork.of(1000, 0.2, 0.15, 3) == HybridWork(images=1000, train=680, validation=120, epochs=3)
    assert (WORK.trained, WORK.forward) == (5 * (6 + 8), 20 + 6 * 2)
    alone = HybridWork.of(10, 0.2, 0, 5)
    assert (alone.trained, alone.forward) == (5 * 8, 20), "without validation there is no second fit"


def test_costs_go_by_flops_between_measured_cuts() -> None:
    costs = costs_of_three()
    assert {name: cost.measured for name, cost in costs.items()} == {"a_pool": True, "b": False, "c": True}
    b, step, forward = costs["b"], 0.6, 0.15
    assert (b.bytes, round(b.extract, 6)) == (1600, 4.0)
    assert b.epoch == pytest.approx(6 * step + 2 * forward)
    assert b.train == pytest.approx(70 * (step + 0.01) + 32 * forward)
    assert (b.total, b.from_images) == (pytest.approx(b.train + 4), pytest.approx(b.train + 102 * 0.4))


def test_the_best_trains_the_most_within_the_budget() -> None:
    costs = list(costs_of_three().values())
    chosen = [best(costs, budget) for budget in (Budget(), Budget(bytes=1600), Budget(seconds=35), Budget(bytes=1000))]
    assert [cost and cost.cut.layer for cost in chosen] == ["a_pool", "b", "c", None]
