"""What the cut planner measures, on a network that takes no time."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from extractor.cut_choice import cuts_of
from extractor.cut_plan import HybridWork, plan
from extractor.cut_rates import BATCH_SIZE, measure_cut, measure_head
from extractor.keras_session import fresh_session
from extractor.recipe import Recipe

SIZE = 32
IMAGES = 4


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """first (free) -> wide (nearly all of the work) -> norm -> last (free)."""
    fresh_session()
    x = inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(64, 1, name="first")(x)
    x = keras.layers.Conv2D(256, 5, strides=2, padding="same", name="wide")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    keras.Model(inputs, keras.layers.Conv2D(2, 1, strides=16, name="last")(x)).save(tmp_path / "net.keras")
    return Recipe(str(tmp_path / "net.keras"), preprocessing="tf", pooling="none", input_size=SIZE)


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    random = np.random.default_rng(0)
    paths = [str(tmp_path / f"{i}.png") for i in range(IMAGES)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(path)
    return paths


@pytest.mark.slow
def test_a_cut_is_measured_in_seconds_of_one_image(recipe: Recipe, images: list[str]) -> None:
    cuts = {cut.layer: cut for cut in cuts_of(recipe)}
    rates = {name: measure_cut(recipe, cuts[name], images) for name in ("first", "norm")}
    for name, rate in rates.items():
        assert rate.cut is cuts[name]
        assert 0 < rate.extract < 10
        assert 0 < rate.forward < 10 / BATCH_SIZE
        assert 0 < rate.train < 10 / BATCH_SIZE
    assert rates["first"].forward < rates["first"].train  # behind the other nothing is left, and a busy machine tells the two apart no more
    assert rates["first"].train > 3 * rates["norm"].train, "wide is behind the one cut and before the other"
    work = HybridWork.of(1000, 0.2, 0.15, 5)
    [cost] = [
        cost for cost in plan(list(cuts.values()), list(rates.values()), measure_head(2), work, "float16") if cost.cut.layer == "norm"
    ]
    assert cost.measured
    assert cost.bytes == 1000 * 2 * 16 * 16 * 256
    assert cost.extract == pytest.approx(1000 * rates["norm"].extract)
