from __future__ import annotations

import numpy as np
import pytest

from trainer.sweep_interval import over_seeds


@pytest.mark.parametrize("n", [2, 3, 10, 31, 32, 100])
def test_the_interval_is_that_of_students_t(n: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(n).normal(0.8, 0.02, n)
    low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    found = over_seeds(values.tolist(), None)
    assert found.half_width is not None
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high), abs=1e-5)


def test_training_items_that_overlap_make_it_wider() -> None:
    values = [0.8, 0.82, 0.81]
    plain, corrected = (over_seeds(values, share).half_width for share in (None, 0.25))
    assert plain is not None
    assert corrected == pytest.approx(plain * np.sqrt((1 / 3 + 0.25) / (1 / 3)))


def test_one_seed_has_no_interval() -> None:
    assert over_seeds([0.8], 0.2).half_width is None
