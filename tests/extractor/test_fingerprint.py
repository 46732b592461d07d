from __future__ import annotations

import keras
import numpy as np
import pytest

from extractor.fingerprint import canonical_graph, graph_and_end, graph_digest, weights_digest


def network(width: int = 4, activation: str = "relu", size: int = 8, seed: int = 0, **options: object) -> keras.Model:
    """A small branched network; its layers are named automatically."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(width, 3, padding="same", activation=activation, **options)(inputs)
    y = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.Add()([x, y]))


def mobilenet(**options: object) -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.applications.MobileNetV2(**{"include_top": False, "weights": None, "input_shape": (32, 32, 3), **options})


def test_automatic_names_do_not_matter() -> None:
    first, second = network(), network()
    assert [layer.name for layer in first.layers] != [layer.name for layer in second.layers]
    assert graph_digest(first) == graph_digest(second)
    assert graph_and_end(first)[1] == graph_and_end(second)[1]
    assert weights_digest(first) == weights_digest(second)


def test_names_given_by_hand_do_not_matter() -> None:
    assert graph_digest(network(name="mine")) == graph_digest(network())


@pytest.mark.slow
def test_a_real_network_built_twice_has_one_digest() -> None:
    first, second = mobilenet(), mobilenet()
    assert graph_digest(first) == graph_digest(second)
    assert weights_digest(first) == weights_digest(second)


@pytest.mark.slow
def test_width_and_input_size_change_the_graph_of_a_real_network() -> None:
    models = [mobilenet(), mobilenet(alpha=0.5), mobilenet(input_shape=(64, 64, 3)), mobilenet(include_top=True, classes=10)]
    assert len({graph_digest(model) for model in models}) == 4


@pytest.mark.parametrize(
    "change", [{"width": 5}, {"activation": "gelu"}, {"size": 9}, {"strides": 1, "use_bias": False}, {"dilation_rate": 2}]
)
def test_what_moves_values_changes_the_graph(change: dict[str, object]) -> None:
    assert graph_digest(network(**change)) != graph_digest(network())  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"kernel_initializer": "zeros"}, {"kernel_regularizer": "l2"}, {"kernel_constraint": "max_norm"}])
def test_what_moves_no_value_does_not(change: dict[str, object]) -> None:
    assert graph_digest(network(**change)) == graph_digest(network())


def test_freezing_does_not_change_the_graph() -> None:
    model = network()
    before = graph_digest(model)
    model.trainable = False
    assert graph_digest(model) == before


def test_the_wiring_changes_the_graph() -> None:
    def wired(swap: bool) -> keras.Model:
        inputs = keras.Input((4,))
        a, b = keras.layers.Dense(4, activation="relu")(inputs), keras.layers.Dense(4, activation="tanh")(inputs)
        return keras.Model(inputs, keras.layers.Subtract()([b, a] if swap else [a, b]))

    assert graph_digest(wired(False)) != graph_digest(wired(True))


def test_the_cut_changes_the_graph_and_the_layer() -> None:
    model = network()
    cut = keras.Model(model.input, model.layers[1].output)
    assert graph_digest(cut) != graph_digest(model)
    assert (graph_and_end(cut)[1], graph_and_end(model)[1]) == ("conv2d_1", "add_3")


def test_another_seed_changes_the_weights_only() -> None:
    assert weights_digest(network(seed=1)) != weights_digest(network(seed=0))
    assert graph_digest(network(seed=1)) == graph_digest(network(seed=0))


def test_every_weight_counts() -> None:
    model = network()
    digests = {weights_digest(model)}
    for weight in model.weights:
        value = keras.ops.convert_to_numpy(weight).copy()
        value.flat[-1] = np.nextafter(value.flat[-1], np.float32(9))
        weight.assign(value)
        digests.add(weights_digest(model))
    assert len(digests) == 1 + len(model.weights)


def test_the_canonical_graph_holds_no_automatic_name() -> None:
    model = network()
    text = str(canonical_graph(model))
    assert all(layer.name not in text.replace(f"_{i}'", "'") for i, layer in enumerate(model.layers) if layer.name[-1].isdigit())
