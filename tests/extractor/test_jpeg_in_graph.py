from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from extractor.jpeg_in_graph import resize

SIZE = 32
side = st.one_of(st.integers(1, 300), st.sampled_from([1, SIZE - 1, SIZE, SIZE + 1, 2 * SIZE]))


@pytest.mark.slow
@pytest.mark.parametrize("antialias", [True, False])
@settings(max_examples=60, deadline=None)
@given(height=side, width=side, seed=st.integers(0, 2**32 - 1), extremes=st.booleans())
def test_pixels_are_those_of_tensorflows_resize_to_the_bit(antialias: bool, height: int, width: int, seed: int, extremes: bool) -> None:
    chance = np.random.default_rng(seed)
    image = (chance.choice([0, 255], (height, width, 3)) if extremes else chance.integers(0, 256, (height, width, 3))).astype(np.uint8)
    resized = tf.image.resize(image.astype(np.float32), (SIZE, SIZE), "bilinear", antialias=antialias).numpy()
    expected = np.clip(np.floor(resized + 0.5), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(resize(tf.constant(image), SIZE, antialias).numpy(), expected)


@pytest.mark.parametrize("antialias", [True, False])
def test_many_images_are_resized_as_each_alone(antialias: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 50, 70, 3)).astype(np.uint8)
    alone = np.stack([resize(tf.constant(image), SIZE, antialias).numpy() for image in images])
    np.testing.assert_array_equal(resize(tf.constant(images), SIZE, antialias).numpy(), alone)
