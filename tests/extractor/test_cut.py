from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from extractor import backbones
from extractor.applications import build_without_values
from extractor.backbones import Backbone
from extractor.cut import cut, has_layer, layers_of
from extractor.fingerprint import graph_and_end, graph_digest
from extractor.keras_session import fresh_session
from extractor.recipe import Recipe
from extractor.tensorflow_engine import TensorFlowEngine
from storage.errors import UsageError


@pytest.fixture
def branched() -> keras.Model:
    fresh_session()
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    y = keras.layers.Conv2D(4, 3, padding="same", name="side")(x)
    shared = keras.layers.Dense(4, name="shared")
    z = keras.layers.Add()([shared(x), shared(y)])
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(z))


def test_layers_are_listed_with_both_names_and_shapes(branched: keras.Model) -> None:
    assert [(layer.name, layer.canonical, layer.shape) for layer in layers_of(branched)] == [
        ("conv2d", "conv2d_1", (6, 6, 4)),
        ("side", "conv2d_2", (6, 6, 4)),
        ("add", "add_4", (6, 6, 4)),
        ("global_average_pooling2d", "globalaveragepooling2d_5", (4,)),
    ]


@pytest.mark.parametrize("name", ["side", "conv2d_2"])
def test_a_cut_has_what_leads_to_it_only(branched: keras.Model, name: str) -> None:
    part = cut(branched, name, "x")
    assert [layer.name for layer in part.layers][1:] == ["conv2d", "side"]
    image = np.ones((1, 8, 8, 3), np.float32)
    both = keras.Model(branched.input, branched.get_layer("side").output)
    assert np.array_equal(part(image), both(image))


def test_a_name_in_keras_goes_before_a_canonical_one() -> None:
    fresh_session()
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv2d_2")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(5, 3, name="other")(x))  # canonical: conv2d_1, conv2d_2
    assert cut(model, "conv2d_2", "x").output_shape[-1] == 4


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sidee", r"no such layer of x; near ones are side. `permafrost layers x` lists all"),
        ("zzz", "no such layer of x; it has 4 others"),
        ("input_layer", "is the input itself"),
        ("shared", "is used several times"),
    ],
)
def test_a_name_that_is_no_place_to_cut_is_told(branched: keras.Model, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        cut(branched, name, "x")


def test_a_model_inside_the_model_is_cut_at_its_outer_output() -> None:
    recipe = Recipe("convnext_tiny", weights="random:0", input_size=32)
    assert cut(build_without_values(recipe), "convnext_tiny_stem", "convnext_tiny").output_shape == (None, 8, 8, 96)


def test_a_layer_with_several_outputs_is_told() -> None:
    inputs = keras.Input((8, 4))
    sequence, *_ = keras.layers.LSTM(3, return_state=True, return_sequences=True, name="lstm")(inputs)
    with pytest.raises(UsageError, match="has several outputs"):
        cut(keras.Model(inputs, sequence), "lstm", "x")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["mobilenet_v2", *[pytest.param(name, marks=pytest.mark.full) for name in ("inception_v3", "nasnet_mobile")]]
)
def test_a_cut_at_the_default_is_no_cut(name: str) -> None:
    recipe = Recipe(name, weights="random:0")
    model, with_top = build_without_values(recipe), build_without_values(recipe, 5)
    last = layers_of(model)[-1].name
    cuts = [cut(network, last, name) for network in (model, with_top)]
    assert {graph_digest(network) for network in [model, *cuts]} == {graph_digest(model)}
    assert {graph_and_end(network)[1] for network in [model, *cuts]} == {graph_and_end(model)[1]}
    assert has_layer(with_top, "predictions")
    assert not has_layer(model, "predictions")


@pytest.mark.slow
def test_a_cut_backbone_embeds_its_part(small_backbone: Backbone) -> None:
    backbone = backbones.build(Recipe("mobilenet_v2", weights="random:0", input_size=32, layer="block_3_depthwise"))
    assert backbone.space.layer.startswith("depthwiseconv2d_")
    assert len(backbone.model.layers) < len(small_backbone.model.layers)
    assert {backbone.space.graph, backbone.space.weights}.isdisjoint({small_backbone.space.graph, small_backbone.space.weights})
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    plain = keras.Model(small_backbone.model.input, small_backbone.model.get_layer("block_3_depthwise").output)
    expected = plain(images.astype(np.float32) / 127.5 - 1, training=False).numpy().mean(axis=(1, 2))
    assert np.allclose(TensorFlowEngine(backbone, 2)(tf.constant(images)), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_vector_needs_no_pooling() -> None:
    recipe = Recipe("mobilenet_v2", weights="random:0", input_size=32, layer="global_average_pooling2d")
    backbone = backbones.build(recipe)
    assert (backbone.recipe.pooling, backbone.space.pooling) == ("none", "none")
    assert TensorFlowEngine(backbone, 2).shape == (1280,)
    with pytest.raises(UsageError, match="--pooling max: mobilenet_v2 ends in a vector"):
        backbones.build(Recipe("mobilenet_v2", weights="random:0", input_size=32, layer="global_average_pooling2d", pooling="max"))


@pytest.mark.slow
def test_a_wrong_layer_of_a_backbone_names_those_of_the_top_too() -> None:
    with pytest.raises(UsageError, match=r"near ones are .*predictions"):
        backbones.build(Recipe("mobilenet_v2", weights="random:0", input_size=32, layer="prediction"))


def test_the_list_marks_the_default_and_the_top() -> None:
    notes = {layer.name: note for layer, note in backbones.list_layers(Recipe("vgg16", input_size=32))}
    assert [name for name, note in notes.items() if note == "default"] == ["block5_pool"]
    assert [name for name, note in notes.items() if note == "top"] == ["flatten", "fc1", "fc2", "predictions"]
