from __future__ import annotations

import os
from pathlib import Path

import pytest

from extractor.backbone_source import check_weights
from extractor.backbone_table import BACKBONES
from extractor.recipe import Recipe
from storage.errors import NotFoundError, UsageError


@pytest.mark.parametrize("name", BACKBONES)
def test_the_backbone_gives_the_defaults(name: str) -> None:
    recipe = Recipe(name)
    assert (recipe.input_size, recipe.preprocessing) == (BACKBONES[name].input_size, BACKBONES[name].preprocessing)
    assert (recipe.weights, recipe.pooling, recipe.dtype, recipe.precision, recipe.image_policy) == (
        "imagenet",
        "avg",
        "float16",
        "float32",
        "image-v1",
    )


def test_a_recipe_survives_the_way_through_json(tmp_path: Path) -> None:
    weights = tmp_path / "w.h5"
    weights.touch()
    recipe = Recipe("resnet50", weights=str(weights), pooling="none", input_size=64, preprocessing="torch", dtype="float32")
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize("name", ["MobileNetV2", "mobile_netv2", "mobilenet-v2"])
def test_a_name_that_is_nearly_right_gets_the_right_one(name: str) -> None:
    with pytest.raises(UsageError, match="near ones are mobilenet_v2"):
        Recipe(name)


def test_an_unknown_backbone_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown backbone 'resnet51'.*resnet50"):
        Recipe("resnet51")


@pytest.mark.parametrize(
    ("option", "value"), [("pooling", "mean"), ("preprocessing", "imagenet"), ("image_policy", "image-v9"), ("dtype", "float64")]
)
def test_an_unknown_choice_names_the_option_and_the_choices(option: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} must be one of .*; got '{value}'"):
        Recipe("mobilenet", **{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_precision_is_part_of_the_recipe(precision: str) -> None:
    recipe = Recipe("mobilenet", precision=precision)
    assert Recipe.from_dict(recipe.to_dict()) == recipe != Recipe("mobilenet")


def test_a_precision_that_is_not_there_yet_is_refused() -> None:
    with pytest.raises(UsageError, match="--precision must be one of float32"):
        Recipe("mobilenet", precision="int4")


@pytest.mark.parametrize("size", [-224, 1, 31, 2049, 10**9])
def test_an_input_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match="--input-size must be 32 to 2048"):
        Recipe("mobilenet", input_size=size)


@pytest.mark.parametrize(("given", "kept"), [("imagenet", "imagenet"), ("random:7", "random:7"), ("random:007", "random:7")])
def test_weights_by_name_have_one_spelling(given: str, kept: str) -> None:
    assert check_weights("mobilenet", given) == kept


@pytest.mark.parametrize(
    "weights", ["random:", "random:x", "random:-1", "random:1.5", "random:4294967296", "random: 1", "random:٣", "random:²"]
)
def test_a_malformed_seed_is_refused(weights: str) -> None:
    with pytest.raises(UsageError, match="expected random:SEED"):
        check_weights("mobilenet", weights)


def test_a_seed_of_thousands_of_digits_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="expected random:SEED"):
        check_weights("mobilenet", "random:" + "9" * 5000)


def test_a_weights_file_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.h5").touch()
    monkeypatch.chdir(tmp_path)
    assert check_weights("mobilenet", "w.h5") == os.path.join(tmp_path, "w.h5")


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.hdf5").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_weights("mobilenet", "~/w.hdf5") == str(tmp_path / "w.hdf5")


@pytest.mark.parametrize("weights", ["nowhere.h5", "/", "a\0b.h5"])
def test_a_weights_file_that_is_not_there_is_told(weights: str) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        check_weights("mobilenet", weights)


@pytest.mark.parametrize("name", ["model.keras", "model.pkl", "model.pt", "weights"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"expected a weights file ending in \.h5"):
        check_weights("mobilenet", str(tmp_path / name))
