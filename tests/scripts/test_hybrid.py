"""Hybrid training from the command line: recipes by name, cuts, and that the cache changes nothing."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import keras
import numpy as np
import pytest
from PIL import Image

import storage
from extractor.backbones import build, whole_network
from extractor.image_policy import decode_with_pillow
from extractor.recipe import Recipe
from extractor.tails import build_tail
from scripts.cli import build_parser
from scripts.cuts import _command
from scripts.hybrid_options import strategy_pairs
from scripts.recipes import RECIPES, expanded
from storage.errors import UsageError
from tests.scripts.conftest import Said

if TYPE_CHECKING:
    from extractor.cuts import Cut
    from trainer import FittedHead

SIZE = 32
TINY = ["--backbone", "mobilenet", "--backbone-arg", "alpha=0.25", "--weights", "random:0", "--input-size", SIZE]


@pytest.mark.parametrize("name", [name for name in RECIPES if "fine-tuned" not in name])
def test_a_recipe_stands_for_options_that_both_commands_take(name: str) -> None:
    for command, places in (("extract", ["photos", "s/t/n"]), ("train", ["s/t/n", "--out", "h"])):
        words, told = expanded([command, *places, "--recipe", name, "--json"])
        args = build_parser().parse_args(words)
        assert args.json
        assert told == f"--recipe {name} means {' '.join(RECIPES[name].words(command))}"
    assert (args.head, args.hidden) == ("mlp", (128,) if "resnet" in name else (256,))


@pytest.mark.parametrize(
    ("frozen", "epochs", "words"),
    [
        ({"parameters_trained": 50}, 2, "the last 4 layers trained (50 parameters)"),
        ({"parameters_trained": 50}, 0, "as it was: with the last 4 layers trained validation was never better"),
        ({"parameters_trained": 20, "train_last": 2}, 2, "the last 2 layers, which are trained (20 parameters)"),
        ({"parameters_trained": 20, "train_last": 2}, 0, "as it was: with the last 2 layers trained validation was never better"),
        ({"parameters_trained": 10, "train_last": 1}, 2, "up to the last layer, which is trained (10 parameters)"),
        ({"parameters_trained": 50, "train_last": 5}, 2, "the last 4 layers trained (50 parameters)"),
        ({"parameters_trained": 50, "train_last": 5}, 0, "as it was: with the last 4 layers trained validation was never better"),
        ({"parameters_trained": 0, "train_last": 0}, 0, "the head alone trained"),
    ],
)
def test_it_says_what_was_trained(frozen: dict[str, int], epochs: int, words: str) -> None:
    about = {"cut": "here", "parameters": 9, "layers_behind": 4, **frozen}
    fitted = cast("FittedHead", SimpleNamespace(strategy="hybrid", frozen=about, epochs=epochs))
    assert words in str(dict(strategy_pairs(fitted))["strategy"])


def test_what_is_said_beside_a_recipe_goes_before() -> None:
    words, told = expanded(["train", "s/t/n", "--recipe=vgg16-last-5", "--hidden", "64", "--out", "h"])
    args = build_parser().parse_args(words)
    assert (args.hidden, args.strategy) == ((64,), "hybrid")
    assert told == "--recipe vgg16-last-5 means --strategy hybrid --head mlp and --hidden as said beside it"
    _, told = expanded(
        ["extract", "photos", "--recipe", "vgg16-last-5", "--backbone=resnet50", "--train-last", "7", "--backbone-arg", "x=1"]
    )
    assert told == "--recipe vgg16-last-5 means --backbone, --train-last as said beside it"
    assert expanded(["train", "s/t/n"]) == (["train", "s/t/n"], "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["extract", "--recipe", "vgg"], "unknown recipe 'vgg': expected one of resnet50"),
        (["predict", "--recipe", "x"], "got it with predict"),
    ],
)
def test_a_recipe_that_is_none_is_told(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        expanded(words)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of each of three colours, with noise."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir()
        for i in range(8):
            pixels = random.integers(0, 120, (40, 40, 3))
            pixels[..., 2 - number] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.slow
def test_hybrid_from_the_cache_begins_as_training_from_the_images(say: Said, photos: Path) -> None:
    small = ["--recipe", "vgg16-last-5", "--weights", "random:0", "--input-size", SIZE]
    code, _, err = say("extract", photos, "f/me/cut", *small, "--dtype", "float32", "--local")
    assert (code, "--train-last 5 means --layer block4_pool --pooling none" in err) == (0, True)
    feature_set = storage.open("f/me/cut")
    recipe = Recipe.from_dict(feature_set.description.backbone)
    keys, features = feature_set.to_numpy()
    _train_both(recipe, features, _images(photos, keys), build_tail(recipe, feature_set.space, "me/cut").model)

    code, out, err = say("train", "f/me/cut", "--recipe", "vgg16-last-5", "--max-epochs", 1, "--out", "head", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["strategy"], told["frozen"]["cut"], told["frozen"]["layers_behind"]) == ("hybrid", "block4_pool", 4)
    code, out, _ = say("predict", "head", photos / "red" / "0.png", "--json")
    [told] = json.loads(out)["predictions"]
    from_set = json.loads(say("predict", "head", "f/me/cut", "--json")[1])["predictions"]
    [same] = [row for row in from_set if row["key"] == "red/0.png"]
    assert told["probabilities"] == pytest.approx(same["probabilities"], abs=1e-4)
    _sweep(say)


def _sweep(say: Said) -> None:
    """Of the head alone, which takes the least time; the tail's layers are `tests/trainer/test_sweep_tails.py`."""
    words = ["sweep", "f/me/cut", "--strategy", "hybrid", "--seeds", 1, "--max-epochs", 1, "--out", "swept"]
    code, out, err = say(*words, "--train-last", 0, "--learning-rate", "0.001,0.01", "--json")
    assert code == 0, err
    told, head = json.loads(out), json.loads(Path("swept/head.json").read_text())
    assert (told["strategy"], told["varied"], len(told["candidates"])) == ("hybrid", ["learning_rate"], 2)
    assert (head["strategy"], head["frozen"]["train_last"], head["frozen"]["parameters_trained"]) == ("hybrid", 0, 0)
    code, out, _ = say("evaluate", "swept", "f/me/cut", "--json")
    assert code == 0
    for rest, message in (
        (["--train-last", 6], "--train-last 6: from a set cut at block4_pool at most the last 5 layers can be trained"),
        (["--train-last", "-1"], "--train-last must be 0 (the head alone) or more, got -1"),
        (["--train-last", "0,1"], "--train-last 1: the last layer (block5_pool) has no weights"),
        (["--train-last", "1:5"], "train_last must be given as values"),
    ):
        code, _, err = say(*words, *rest)
        assert (code, message in err) == (2, True), err


def _images(photos: Path, keys: list[str]) -> np.ndarray:  # type: ignore[type-arg]
    return np.concatenate([decode_with_pillow((photos / key).read_bytes(), SIZE) for key in keys]).astype(np.float32)


def _train_both(recipe: Recipe, features: np.ndarray, images: np.ndarray, tail: keras.Model) -> None:  # type: ignore[type-arg]
    """Two steps of the tail from the cache and of the same layers from the images: the losses agree."""
    frozen = {layer.name for layer in build(recipe).model.layers}
    network, _ = whole_network(recipe)
    for layer in network.layers:
        layer.trainable = layer.name not in frozen
    scaled = keras.applications.imagenet_utils.preprocess_input(images.copy(), mode="caffe")
    y, losses = np.arange(len(images)) % 3, []
    for model, x in ((tail, features), (network, scaled)):
        for layer in model.layers:
            layer.trainable &= not isinstance(layer, keras.layers.BatchNormalization)
        logits = keras.layers.Dense(3, kernel_initializer=keras.initializers.GlorotUniform(0))
        both = keras.Model(model.inputs, logits(keras.layers.GlobalAveragePooling2D()(model.outputs[0])))
        both.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        losses.append([float(both.train_on_batch(x, y)) for _ in range(2)])
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-3)
    assert losses[0][0] != losses[0][1]


def test_the_command_at_a_cut_can_be_pasted() -> None:
    words = ["cuts", "my net.keras", "--corpus", "my photos", "--backbone-arg", "alpha=0.35", "--input-size", "96", "--weights", "w 1.h5"]
    cut = cast("Cut", SimpleNamespace(layer="block_1_add"))
    pasted = build_parser().parse_args(shlex.split(_command(build_parser().parse_args(words), cut))[1:])
    assert (pasted.corpus, pasted.backbone, pasted.weights, pasted.layer) == ("my photos", "my net.keras", "w 1.h5", "block_1_add")
    assert (pasted.backbone_arg, pasted.input_size, pasted.dtype) == (["alpha=0.35"], 96, "float16")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget-hours", "-1"], "expected a number of hours above 0, such as 2 or 0.5, got '-1'"),
        (["--budget-hours", "nan"], "above 0, such as 2 or 0.5, got 'nan'"),
        (["--budget-disk", "0GB"], "expected a size such as 10GB or 512MiB, got '0GB'"),
    ],
)
def test_a_budget_that_is_none_is_told(words: list[str], message: str, say: Said) -> None:
    code, _, err = say("cuts", "mobilenet", "--corpus", "photos", *words)
    assert (code, message in err) == (2, True), err


@pytest.mark.slow
def test_cuts_are_listed_and_what_is_no_place_for_a_tail_is_told(say: Said, photos: Path) -> None:
    code, out, _ = say("cuts", "mobilenet_v2", "--input-size", 32, "--json")
    cuts = {cut["layer"]: cut for cut in json.loads(out)["cuts"]}
    assert (code, cuts["block_14_add"]["bytes_an_image"], "block_14_project_BN" in cuts) == (0, 320, False)
    for words, message in (
        (["cuts", "vgg16", "--budget-disk", "1GB"], "name the images with --corpus"),
        (["extract", photos, "f/me/x", *TINY, "--train-last", 3, "--pooling", "avg"], "leave out --layer and --pooling"),
        (["extract", photos, "f/me/x", *TINY, "--train-last", 300], "so it must be from 1 to"),
    ):
        code, _, err = say(*words)
        assert (code, message in err) == (2, True), err
