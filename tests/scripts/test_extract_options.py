"""What the options of `permafrost extract` become."""

from __future__ import annotations

import pytest

from extractor import Also, ExtractOptions
from scripts.cli import build_parser
from scripts.extract_options import make_options, parse_also
from storage.errors import UsageError

FIRST = ["--backbone", "mobilenet_v2", "--backbone-arg", "alpha=0.35", "--weights", "random:1", "--input-size", "96", "--layer", "Conv_1"]


def options(*words: str) -> ExtractOptions:
    return make_options(build_parser().parse_args(["extract", "photos", "s/t/n", *FIRST, *words]))


def test_a_further_set_differs_in_what_is_named() -> None:
    made = options("--dtype", "float32", "--format", "hdf5", "--also", "s/t/maps,pooling=none,layer=block_1_expand,format=parquet")
    [maps] = made.also
    assert (maps.set, maps.format, made.format) == ("s/t/maps", "parquet", "hdf5")
    first, further = made.recipe.to_dict(), maps.recipe.to_dict()
    assert {name: further[name] for name in first if first[name] != further[name]} == {"pooling": "none", "layer": "block_1_expand"}


def test_the_networks_end_can_be_had_beside_a_cut() -> None:
    [end] = options("--also", "s/t/end,layer=,pooling=max").also
    assert (end.recipe.layer, end.recipe.pooling) == ("", "max")


def test_another_backbone_brings_its_own() -> None:
    [vgg] = options("--also", "s/t/vgg,backbone=vgg16,weights=random:2").also
    assert (vgg.recipe.name, vgg.recipe.weights, vgg.recipe.args, vgg.recipe.layer) == ("vgg16", "random:2", (), "")
    assert (vgg.recipe.input_size, vgg.recipe.preprocessing) == (224, "caffe")


def test_arguments_of_a_builder_are_given_as_often_as_there_are() -> None:
    [small] = options("--also", "s/t/m,backbone-arg=alpha=1.0,input-size=64").also
    assert (dict(small.recipe.args), small.recipe.input_size) == ({"alpha": 1.0}, 64)


def test_without_any_there_is_one_set() -> None:
    assert options().also == ()
    assert Also("a/b/c", options().recipe).format is None


@pytest.mark.parametrize("words", [["--also", "s/t/a,pooling=max", "--also", "s/t/b,pooling=none"]])
def test_sets_come_in_the_order_of_the_words(words: list[str]) -> None:
    assert [(each.set, each.recipe.pooling) for each in options(*words).also] == [("s/t/a", "max"), ("s/t/b", "none")]


def test_a_pooled_set_beside_one_to_train_on_from_is_of_the_networks_end() -> None:
    args = build_parser().parse_args(
        ["extract", "photos", "s/t/cut", "--backbone", "mobilenet_v2", "--weights", "random:1", "--train-last", "3"]
    )
    end = parse_also("s/t/end,pooling=avg", args).recipe
    assert (end.layer, end.pooling) == ("", "avg")


def test_decode_helpers_are_of_a_cluster() -> None:
    assert (options().decode_helpers, options("--decode-helpers", "3").decode_helpers) == (0, 3)
    with pytest.raises(UsageError, match="leave out --local"):
        options("--local", "--decode-helpers", "1")
    with pytest.raises(UsageError, match="must be 0 to 4096, got -1"):
        options("--decode-helpers", "-1")
