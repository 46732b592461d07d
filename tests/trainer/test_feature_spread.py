"""What is said of features that hardly differ, and that it is so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import Row
from trainer.feature_spread import spread_warnings
from trainer.fit import fit
from trainer.options import FitOptions


def normal(*sizes: float, dtype: str = "float32") -> Any:
    return (np.random.default_rng(0).normal(0, 1, (50, len(sizes))) * np.array(sizes)).astype(dtype)


@pytest.mark.parametrize("scale", [1.0, 2.0**-40])
def test_features_too_small_beside_others_are_counted(scale: float) -> None:
    assert spread_warnings(normal(1, 1e-3, 1e-12) * np.float32(scale)) == []
    assert spread_warnings(normal(1, 1e-18, 1e-22, 1e-14) * np.float32(scale))[0].startswith("2 features spread by less than 1e-15")
    assert spread_warnings(normal(1, 0) * np.float32(scale)) == []  # constant ones are no loss


def test_what_no_feature_could_lose_is_said_of_none() -> None:
    assert spread_warnings(normal(1, 1e-7, dtype="float16")) == []
    assert spread_warnings(normal(1, 1e-18).reshape(50, 2, 1, 1)) == []  # maps are pooled first
    assert spread_warnings(np.array([[1.0, np.nan], [2.0, 0.0]], np.float32)) == []  # refused elsewhere
    assert spread_warnings(np.zeros((0, 3), np.float32)) == []


def test_a_set_without_any_difference_is_fitted_with_a_note(write_set: Callable[..., str]) -> None:
    rows = [Row(f"{i}", np.zeros(4, np.float16), "aab"[i % 3]) for i in range(60)]
    fitted = fit(write_set(rows), options=FitOptions("ridge", alpha=1.0))
    assert "no feature differs between the items: a head can only learn how frequent the classes are" in fitted.warnings
    assert spread_warnings(np.ones((9, 2, 2, 3), np.float32)) == [fitted.warnings[-1]]
