"""Test accuracy on real photographs with real weights, against plain features and scikit-learn's logistic regression."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import storage
import trainer
from extractor import ExtractOptions, Recipe, extract
from trainer import FitOptions

pytestmark = pytest.mark.slow
LOGISTIC, CONVERGED = FitOptions("logistic"), FitOptions("linear", max_epochs=300, patience=300)


@dataclass(frozen=True)
class Reference:
    """`accuracy`: what the README of the shared data says of a network; the rest is how its features are made and fitted."""

    accuracy: float
    file: str
    backbone: str = ""  # "": the file is the model
    recipe: dict[str, Any] = field(default_factory=dict)
    fit: FitOptions = LOGISTIC


REFERENCES = {
    "mobilenet_v2": Reference(0.86, "mobilenet_v2_1.0_224_dequant_no_top.h5", "mobilenet_v2"),
    "mobilenet 0.75": Reference(0.866, "mobilenet_7_5_224_tf_no_top.h5", "mobilenet", {"args": {"alpha": 0.75}}),
    # The number holds for resizing without antialiasing (with it, scikit-learn has 0.78), and not for the C that validation chooses.
    "mobilenet_v2 0.35": Reference(
        0.81, "mobilenet_v2_0.35_224_no_top.h5", "mobilenet_v2", {"args": {"alpha": 0.35}, "image_policy": "keras-v1"}, CONVERGED
    ),
    "squeezenet": Reference(0.80, "squeezenet_1_1_notop.keras", "", {"preprocessing": "caffe"}),
}


@pytest.mark.full  # half a minute each; `test_first_light` compares embeddings of these photographs with a plain loop's
@pytest.mark.parametrize("network", REFERENCES)
def test_every_format_and_dtype_reaches_the_reference(network: str, clothing: Path, shared_data: Path, tmp_path: Path) -> None:
    reference = REFERENCES[network]
    file = str(shared_data / "weights" / reference.file)
    recipe = Recipe(reference.backbone or file, file if reference.backbone else "", dtype="float32", **reference.recipe)
    # One network through Ray; the others in threads, which is faster to start.
    where: dict[str, Any] = {"workers": 2} if network == "mobilenet_v2" else {"local": True}
    made = extract(clothing, f"{tmp_path}/features/team/float32", ExtractOptions(recipe, **where))
    assert (made.listed, made.rows, made.embedded, made.rejected, made.pending) == (1372, 1372, 1372, 0, 0)
    halved = ExtractOptions(replace(recipe, dtype="float16"), format="hdf5", local=True)
    derived = extract(clothing, f"{tmp_path}/features/team/float16", halved)
    assert (derived.rows, derived.embedded, derived.copied) == (1372, 0, 1372)
    for name in (made.set, derived.set):
        fitted = trainer.fit(name, shared_data / "clothing" / "split.csv", reference.fit)
        assert fitted.rows == {"train": 850, "validation": 150, "test": 372}
        assert fitted.metrics["test"].accuracy >= reference.accuracy - 0.01


@pytest.mark.full
def test_a_head_that_learned_from_views_is_as_good(clothing: Path, shared_data: Path, tmp_path: Path) -> None:
    """docs/benchmarks.md has what views brought with several heads, seeds and crops: nothing that could be told from chance here."""
    reference = REFERENCES["mobilenet_v2"]
    recipe = Recipe(reference.backbone, str(shared_data / "weights" / reference.file), views=("flip", "crop", "flip-crop"))
    result = extract(clothing, f"{tmp_path}/features/team/views", ExtractOptions(recipe, local=True))
    assert (result.rows, result.embedded, result.views) == (1372, 1372, 4)
    # That of the README's tour: what views added to the space must not have moved it.
    assert storage.open(result.set).space.plain.id == "e7d116e03ec8779e1247b735c315c52d8a3ed1907d9cada02c7ebdb7f4991991"
    fitted = trainer.fit(result.set, shared_data / "clothing" / "split.csv")
    assert fitted.metrics["test"].accuracy >= reference.accuracy - 0.01


@pytest.mark.full
def test_random_weights_do_not_reach_it(clothing: Path, shared_data: Path, tmp_path: Path) -> None:
    random = Recipe("mobilenet_v2", "random:0", dtype="float32", input_size=96)
    result = extract(clothing, f"{tmp_path}/features/team/random", ExtractOptions(random, local=True))
    fitted = trainer.fit(result.set, shared_data / "clothing" / "split.csv")
    assert fitted.metrics["test"].accuracy < 0.45


@pytest.mark.full
@pytest.mark.parametrize("shard_format", ["parquet", "hdf5"])
def test_the_classic_recipes_run_from_images_to_heads(clothing: Path, tmp_path: Path, shard_format: str) -> None:
    """ResNet50 maps -> Flatten -> Dense(128), and pooled -> Dense(1024), with random weights and few small images."""
    photos = tmp_path / "photos"
    for label in ("hat", "shoes"):
        (photos / label).mkdir(parents=True)
        for path in sorted((clothing / label).iterdir())[:12]:
            (photos / label / path.name).hardlink_to(path)
    maps = Recipe("resnet50", "random:0", pooling="none", input_size=64, dtype="float32")
    result = extract(photos, f"{tmp_path}/features/team/maps", ExtractOptions(maps, format=shard_format, local=True))
    assert storage.open(result.set).shape == (2, 2, 2048)
    flat = trainer.fit(result.set, options=FitOptions(head="mlp", map="flatten", hidden=(128,), max_epochs=3))
    assert [layer.units for layer in flat.model.layers if hasattr(layer, "units")] == [128, 2]
    pooled = extract(
        photos, f"{tmp_path}/features/team/pooled", ExtractOptions(replace(maps, pooling="avg"), format=shard_format, local=True)
    )
    assert (pooled.rows, pooled.embedded) == (24, 0)
    dense = trainer.fit(pooled.set, options=FitOptions(head="mlp", hidden=(1024,), max_epochs=3))
    assert [layer.units for layer in dense.model.layers if hasattr(layer, "units")] == [1024, 2]
