from __future__ import annotations

import keras
import numpy as np
import pytest

from extractor.cut import cut, layers_of
from extractor.fingerprint import weights_digest
from extractor.inlined import inlined

IMAGES = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype("float32")


def transfer_model() -> keras.Model:
    """As people build them: scaling, a network as a layer (with a block of its own in it), a head; and names that stand twice."""
    block = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(4, 1, name="conv"), keras.layers.ReLU(name="act")], name="block")
    inside = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(inside)
    base = keras.Model(inside, keras.layers.Add(name="add")([x, block(x)]), name="base")
    inputs = keras.Input((8, 8, 3))
    x = base(keras.layers.Rescaling(2.0, name="scale")(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, name="conv")(keras.layers.GlobalAveragePooling2D(name="pool")(x)))


def test_the_layers_of_inner_models_become_the_networks_own() -> None:
    model = transfer_model()
    flat = inlined(model)
    assert [layer.name for layer in layers_of(flat)] == ["scale", "conv", "block_conv", "act", "add", "pool", "conv_1"]
    np.testing.assert_array_equal(flat.predict_on_batch(IMAGES), model.predict_on_batch(IMAGES))
    assert weights_digest(flat) == weights_digest(inlined(transfer_model_with(model)))
    base = model.get_layer("base")
    expected = base.predict_on_batch(IMAGES * 2)
    np.testing.assert_allclose(cut(flat, "add", "m").predict_on_batch(IMAGES), expected, rtol=1e-6)


def transfer_model_with(model: keras.Model) -> keras.Model:
    """Another model of the same weights."""
    other = transfer_model()
    other.set_weights(model.get_weights())
    return other


def test_a_model_without_models_in_it_is_left_alone() -> None:
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    assert inlined(model) is model


def test_a_part_that_was_built_to_train_stays_a_layer() -> None:
    inside = keras.Input((8, 8, 3))
    part = keras.Model(inside, keras.layers.BatchNormalization(name="norm")(inside), name="part")
    inputs = keras.Input((8, 8, 3))
    flat = inlined(keras.Model(inputs, part(inputs, training=True)))
    assert [layer.name for layer in layers_of(flat)] == ["part"]


@pytest.mark.parametrize("uses", [1, 2])
def test_a_model_that_is_used_twice_keeps_its_values(uses: int) -> None:
    inside = keras.Input((8, 8, 3))
    part = keras.Model(inside, keras.layers.Conv2D(3, 1, name="conv")(inside), name="part")
    inputs = x = keras.Input((8, 8, 3))
    for _ in range(uses):
        x = part(x)
    model = keras.Model(inputs, x)
    np.testing.assert_allclose(inlined(model).predict_on_batch(IMAGES), model.predict_on_batch(IMAGES), rtol=1e-6)
