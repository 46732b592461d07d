from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

from extractor.applications import build_without_values
from extractor.backbones import build
from extractor.cut_choice import cut_for
from extractor.cuts import cut_for_last, most_trained, moved, require_cut, valid_cuts
from extractor.keras_session import fresh_session
from extractor.recipe import Recipe
from extractor.tails import build_tail
from storage.errors import SpaceMismatchError, UsageError
from storage.space import Space

TINY = Recipe("mobilenet", weights="random:0", input_size=32, pooling="none", dtype="float32", args=(("alpha", 0.25),))


@pytest.fixture
def branched() -> keras.Model:
    """first -> (side, skip) -> add -> relu -> pool -> drop -> twice, twice -> gap; `twice` is one layer that is used two times."""
    fresh_session()
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    y = keras.layers.Conv2D(4, 3, padding="same", name="side")(x)
    x = keras.layers.ReLU(name="relu")(keras.layers.Add(name="add")([x, y]))
    x = keras.layers.Dropout(0.5, name="drop")(keras.layers.MaxPooling2D(name="pool")(x))
    twice = keras.layers.Conv2D(4, 3, padding="same", name="twice")
    x = keras.layers.Activation("relu", name="between")(twice(x))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="gap")(twice(x)))


def test_cuts_are_the_tensors_that_every_path_goes_through(branched: keras.Model) -> None:
    assert [cut.layer for cut in valid_cuts(branched)] == ["first", "add", "relu", "pool", "drop", "gap"]  # no use between `twice`


def test_what_is_before_and_behind_a_cut_is_counted(branched: keras.Model) -> None:
    cuts = {cut.layer: cut for cut in valid_cuts(branched)}
    first, side = 3 * 3 * 3 * 4 + 4, 3 * 3 * 4 * 4 + 4
    assert (cuts["add"].parameters, cuts["add"].parameters_behind) == (first + side, side)
    assert cuts["add"].flops == 2 * 64 * (27 * 4 + 36 * 4)
    assert cuts["relu"].canonical.startswith("relu_")
    assert (cuts["relu"].shape, cuts["relu"].bytes("float16"), cuts["gap"].layers_behind) == ((8, 8, 4), 512, 0)


def test_a_cut_moves_past_layers_without_weights_but_not_past_dropout(branched: keras.Model) -> None:
    cuts = valid_cuts(branched)
    assert moved(cuts, 1, "float16").layer == "pool"


def test_no_more_layers_train_from_a_cut_than_it_was_taken_for(branched: keras.Model) -> None:
    """`add` has no weights, but lies inside of a branch with `side`: with it, the cut would be another one. Behind `pool` are 4 layers."""
    cuts = valid_cuts(branched)
    most = {cut.layer: most_trained(cuts, cut, "float16") for cut in cuts[:-1]}
    assert most == {"first": 8, "add": 6, "relu": 5, "pool": 6, "drop": 3}
    assert [cut_for_last(branched, last, "float16", "x").layer for last in (6, 7, 8)] == ["pool", "first", "first"]


@pytest.mark.parametrize("last", [1, 3, 5])
def test_a_separating_cut_gives_the_network_again(branched: keras.Model, last: int) -> None:
    cut = valid_cuts(branched)[-1 - last]
    at = branched.get_layer(cut.layer).output
    image = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    front, tail = keras.Model(branched.inputs, at), keras.Model(at, branched.outputs[0])
    np.testing.assert_allclose(np.asarray(tail(front(image))), np.asarray(branched(image)), rtol=1e-5, atol=1e-6)


def test_vgg16_with_five_layers_trained_is_kept_behind_block4_pool() -> None:
    cut = cut_for(Recipe("vgg16", weights="random:0"), 5)
    assert (cut.layer, cut.shape, cut.layers_behind) == ("block4_pool", (14, 14, 512), 4)
    before = next(each for each in valid_cuts(build_without_values(Recipe("vgg16", weights="random:0"))) if each.layer == "block4_conv3")
    assert before.bytes("float16") == 4 * cut.bytes("float16")
    assert round((cut.flops + cut.flops_behind) / 2e9, 1) == 15.3  # multiplications, as is known of VGG16


def test_layers_without_weights_are_nothing_to_train() -> None:
    with pytest.raises(UsageError, match="--train-last 1: the last layer of vgg16 has no weights to train; take 2 at least"):
        cut_for(Recipe("vgg16", weights="random:0", input_size=32), 1)


def test_batch_norm_alone_is_nothing_to_train_behind_a_cut() -> None:
    words = "the last 2 layers of mobilenet have weights of BatchNorm alone, .* take 3 at least. .*--train-batch-norm.* --layer conv_pw_13 "
    with pytest.raises(UsageError, match=words):
        cut_for(TINY, 2)
    cut = cut_for(TINY, 3)
    assert (cut.layers_behind, cut.trained_behind, cut.parameters_behind) == (3, 256 * 256, 256 * 256 + 4 * 256)


def test_what_trains_is_counted_in_models_inside_and_where_it_was_frozen() -> None:
    fresh_session()
    inputs = keras.Input((4,))
    inside = keras.Sequential([keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Normalization()], name="inside")
    model = keras.Model(inputs, inside(keras.layers.Dense(4, name="first")(inputs)))
    model.trainable = False
    assert [(cut.layer, cut.trained_behind) for cut in valid_cuts(model)] == [("first", 4 * 3 + 3), ("inside", 0)]


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (0, "must be from 1 to 9"),
        (9, "the most that can be trained from a cache is the last 8"),
    ],
)
def test_numbers_of_layers_that_cannot_be_are_told(branched: keras.Model, last: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        cut_for_last(branched, last, "float16", "x")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("side", "side does not separate x: .* nearest cuts: first, add, relu"),
        ("between", "between does not separate x"),
        ("gap", "behind gap no layer of x has weights"),
        ("zzz", "no such layer of x"),
    ],
)
def test_a_cut_that_does_not_separate_is_refused_with_the_nearest(branched: keras.Model, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        require_cut(branched, name, "x")


@pytest.mark.slow
def test_a_tail_is_of_the_network_that_made_the_features() -> None:
    recipe = Recipe.from_dict({**TINY.to_dict(), "layer": "conv_pw_11_relu"})
    space = build(recipe).space
    built = build_tail(recipe, space, "me/cut")
    assert (built.about["cut"], built.about["layers_behind"]) == ("conv_pw_11_relu", 13)
    behind = tuple(layer.name for layer in built.model.layers[1:])
    assert built.layers == ("conv_pw_11_relu", *behind), "where 14 layers are asked for, the cut moves past that one"
    with pytest.raises(SpaceMismatchError, match="weights"):
        build_tail(replace(recipe, weights="random:1"), space, "me/cut")


def test_a_tail_needs_features_that_layers_can_go_on_from() -> None:
    pooled = Space("0" * 64, "1" * 64, "relu_9", "avg", 32, "image-v1", "tf", "float32", "float32")
    with pytest.raises(UsageError, match="no layer can go on from these: extract a set with --backbone mobilenet --train-last N"):
        build_tail(TINY, pooled, "me/cut")
