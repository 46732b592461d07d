from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from extractor import backbones
from extractor.applications import build_network, build_without_values
from extractor.backbone_table import BACKBONES
from extractor.cut import layers_of
from extractor.fingerprint import graph_digest, weights_digest
from extractor.keras_session import fresh_session
from extractor.recipe import Recipe
from storage.errors import UsageError

pytestmark = pytest.mark.slow

QUICK = {"mobilenet_v2", "mobilenet_v3_small", "vgg16", "convnext_tiny", "efficientnet_b0", "resnet50_v2"}
# The deeper siblings of others in the table take half of the time.
DEEP = re.compile(r"(efficientnet_(b[2-7]|v2_(b[1-3]|m|l))|resnet1.*|densenet(169|201)|convnext_(small|base|large|xlarge)|nasnet_large)$")
EVERY = [pytest.param(name, marks=[pytest.mark.full] if DEEP.match(name) else []) for name in BACKBONES]
NOT_FOR_USERS = {"include_top", "weights", "input_tensor", "input_shape", "pooling", "classes", "classifier_activation", "name"}
MOVES_NOTHING = {"dropout", "dropout_rate"}


def builders() -> dict[str, object]:
    return {name: value for name, value in vars(keras.applications).items() if inspect.isfunction(value)}


def random(name: str, **options: object) -> Recipe:
    return Recipe(name, weights="random:0", **options)  # type: ignore[arg-type]


def test_the_table_has_all_of_keras_applications() -> None:
    assert sorted(entry.builder for entry in BACKBONES.values()) == sorted(builders())


@pytest.mark.parametrize("name", BACKBONES)
def test_the_table_has_the_arguments_of_the_builder(name: str) -> None:
    signature = inspect.signature(getattr(keras.applications, BACKBONES[name].builder))
    assert set(BACKBONES[name].arguments) == set(signature.parameters) - NOT_FOR_USERS - MOVES_NOTHING
    for argument, expected in BACKBONES[name].arguments.items():
        default = signature.parameters[argument].default
        assert type(default) is expected.kind
        if expected.kind is not bool:
            assert expected.low <= default <= expected.high


@pytest.mark.parametrize("name", BACKBONES)
def test_the_preprocessing_is_that_of_its_module(name: str) -> None:
    module = sys.modules[getattr(keras.applications, BACKBONES[name].builder).__module__]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 3, 3)).astype(np.float32)
    mode = BACKBONES[name].preprocessing
    ours = pixels if mode == "none" else keras.applications.imagenet_utils.preprocess_input(pixels.copy(), mode=mode)
    assert np.array_equal(ours, module.preprocess_input(pixels.copy()))


@pytest.mark.parametrize("name", EVERY)
def test_every_backbone_has_the_shapes_of_the_table(name: str) -> None:
    entry = BACKBONES[name]
    model = build_without_values(random(name))
    assert model.input_shape == (None, entry.input_size, entry.input_size, 3)
    assert len(model.output_shape) == 4
    assert model.output_shape[-1] == entry.features


@pytest.mark.parametrize("name", [*sorted(QUICK), "nasnet_mobile", "inception_v3", "mobilenet"])
def test_the_top_comes_last_and_has_the_layers_of_the_table(name: str) -> None:
    entry = BACKBONES[name]
    model = build_without_values(random(name))
    with_top = build_without_values(random(name), classes=7)
    assert with_top.output_shape == (None, 7)
    weighted = [sum(bool(layer.weights) for layer in network.layers) for network in (model, with_top)]
    assert weighted[1] - weighted[0] == entry.top
    assert [tuple(w.shape) for w in with_top.weights[: len(model.weights)]] == [tuple(w.shape) for w in model.weights]


def test_nothing_is_drawn_without_values() -> None:
    import random as python_random

    before = python_random.getstate()
    model = build_without_values(random("convnext_xlarge"))  # 350 million parameters
    assert model.count_params() > 300e6
    assert python_random.getstate() == before
    assert keras.layers.Dense(1).name == "dense"  # and no name is taken


@pytest.mark.parametrize(
    "name",
    [
        *["mobilenet_v3_small", "efficientnet_b0", "convnext_tiny"],
        *(pytest.param(name, marks=pytest.mark.full) for name in ("efficientnet_v2_b0", "nasnet_mobile", "densenet121")),
    ],
)
def test_the_small_ones_of_each_family_give_numbers(name: str) -> None:
    backbone = backbones.build(random(name, input_size=64))
    output = keras.ops.convert_to_numpy(backbone.model(np.full((1, 64, 64, 3), 99, np.float32), training=False))
    assert output.shape[-1] == BACKBONES[name].features
    assert np.isfinite(output).all()
    assert output.std() > 0


def test_names_do_not_depend_on_what_was_built_before() -> None:
    first = [layer.name for layer in build_without_values(random("inception_v3")).layers]
    keras.layers.Conv2D(1, 1)
    fresh_session()
    assert build_network(random("mobilenet_v2", input_size=32)).layers[0].name == "input_layer"
    assert [layer.name for layer in build_without_values(random("inception_v3")).layers] == first
    assert "conv2d_17" in first


# EfficientNet: the graph of the ImageNet weights, whatever the weights


@pytest.fixture
def as_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of random weights that keras.applications takes for the downloaded ImageNet weights."""
    fresh_session()
    keras.utils.set_random_seed(3)
    path = tmp_path / "b0.weights.h5"
    model = build_network(random("efficientnet_b0", input_size=64))
    model.layers[2].set_weights([np.array([0.4, 0.5, 0.6]), np.array([0.1, 0.2, 0.3]), np.array(0)])
    model.save_weights(path)
    module = sys.modules[keras.applications.EfficientNetB0.__module__]
    monkeypatch.setattr(module.file_utils, "get_file", lambda *_, **__: str(path))
    return path


@pytest.mark.full
def test_efficientnet_from_a_file_is_efficientnet_by_name(as_imagenet: Path) -> None:
    by_name = backbones.build(Recipe("efficientnet_b0", input_size=64))
    from_file = backbones.build(Recipe("efficientnet_b0", weights=str(as_imagenet), input_size=64))
    assert from_file.space == by_name.space
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    values = [keras.ops.convert_to_numpy(backbone.model(images, training=False)) for backbone in (by_name, from_file)]
    assert np.array_equal(*values)
    plain = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(64, 64, 3))
    assert graph_digest(plain) != by_name.space.graph  # which is why


@pytest.mark.full  # that a seed gives the same weights, tests/extractor/test_fingerprint.py shows of another network
def test_seeded_efficientnet_is_reproducible() -> None:
    spaces = {backbones.build(random("efficientnet_b0", input_size=32)).space.weights for _ in range(2)}
    assert len(spaces) == 1


# Arguments and sizes


@pytest.mark.parametrize(("name", "args"), [("mobilenet", {"alpha": 0.25}), ("mobilenet_v3_small", {"minimalistic": True})])
def test_arguments_change_the_graph(name: str, args: dict[str, object]) -> None:
    digests = {
        graph_digest(build_without_values(random(name, args=args, input_size=64))),
        graph_digest(build_without_values(random(name, input_size=64))),
    }
    assert len(digests) == 2


def test_what_the_builder_refuses_is_told() -> None:
    with pytest.raises(UsageError, match=r"mobilenet cannot be built with .*--backbone-arg alpha=0.3 .*alpha can be one of"):
        build_network(Recipe("mobilenet", args={"alpha": 0.3}), weights="imagenet")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--input-size 32 is too small for xception"):
        build_network(random("xception", input_size=32))
    with pytest.raises(UsageError, match="vgg16 cannot be built with --input-size 64"):
        build_network(Recipe("vgg16", input_size=64), classes=1000, weights="imagenet")


@pytest.mark.full
def test_the_random_base_does_not_depend_on_the_top() -> None:
    bare = backbones.build(random("efficientnet_b0", input_size=32))
    name = layers_of(bare.model)[-1].name
    with_top = backbones.build(random("efficientnet_b0", input_size=32, layer="avg_pool"))
    assert weights_digest(with_top.model) == bare.space.weights
    assert backbones.build(random("efficientnet_b0", input_size=32, layer=name)).space == bare.space
