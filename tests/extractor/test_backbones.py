from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from extractor import backbones
from extractor.applications import build_network
from extractor.backbones import Backbone
from extractor.recipe import Recipe
from extractor.tensorflow_engine import TensorFlowEngine
from storage.errors import UsageError
from storage.golden import cosines
from tests.extractor.plain import decode

SIZE = 32


def recipe(weights: object = "random:0", **options: object) -> Recipe:
    return Recipe("mobilenet", **{"weights": str(weights), "input_size": SIZE, "args": {"alpha": 0.25}, **options})  # type: ignore[arg-type]


def write_layers(path: Path, model: keras.Model) -> None:
    """Keras' `.h5` weight layout, as keras.applications distributes it: `model.save_weights('x.h5')` of Keras 2."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = keras.ops.convert_to_numpy(weight)


def bare(**options: object) -> keras.Model:
    keras.utils.set_random_seed(5)
    return keras.applications.MobileNet(**{"include_top": False, "weights": None, "input_shape": (SIZE, SIZE, 3), "alpha": 0.25, **options})


@pytest.fixture(scope="module")
def small_backbone() -> Backbone:
    return backbones.build(recipe())


@pytest.fixture(scope="module")
def weights_file() -> Iterator[Path]:
    """A good weights file, of seed 5."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.h5"
        write_layers(path, bare())
        yield path


@pytest.fixture(scope="module")
def from_file(weights_file: Path) -> Backbone:
    return backbones.build(recipe(weights_file))


@pytest.fixture
def damaged(weights_file: Path, tmp_path: Path) -> Callable[[Callable[[h5py.File], None]], Path]:
    """A copy of the good file, changed."""

    def make(change: Callable[[h5py.File], None]) -> Path:
        path = tmp_path / "changed.h5"
        shutil.copy(weights_file, path)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return make


def refuse(path: Path, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        backbones.build(recipe(path))


@pytest.mark.slow
def test_the_backbone_is_frozen_and_without_top(small_backbone: Backbone) -> None:
    assert not small_backbone.model.trainable_weights
    assert small_backbone.model.output_shape == (None, 1, 1, 256)


def test_the_space_says_what_was_built(small_backbone: Backbone) -> None:
    space = small_backbone.space
    assert (space.pooling, space.input_size, space.preprocessing, space.dtype) == ("avg", SIZE, "tf", "float16")
    assert len(space.graph) == len(space.weights) == 64
    assert space.layer.startswith("relu_")


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_space(small_backbone: Backbone) -> None:
    assert backbones.build(recipe()).space == small_backbone.space


@pytest.mark.slow
def test_another_seed_gives_other_weights_of_the_same_graph(small_backbone: Backbone) -> None:
    other = backbones.build(recipe("random:1")).space
    assert other.graph == small_backbone.space.graph
    assert other.weights != small_backbone.space.weights


@pytest.mark.slow
def test_each_option_is_in_the_space(small_backbone: Backbone) -> None:
    options = [{"pooling": "max"}, {"dtype": "float32"}, {"preprocessing": "none"}, {"input_size": 64}]
    ids = {backbones.build(recipe(**option)).space.id for option in options} | {small_backbone.space.id}
    assert len(ids) == 5


def test_an_input_too_small_for_the_network_is_told() -> None:
    with pytest.raises(UsageError, match="--input-size 32 is too small for inception_v3"):
        backbones.build(Recipe("inception_v3", weights="random:0", input_size=32))


# Weights from a file


@pytest.mark.slow
def test_weights_are_loaded_from_a_file(from_file: Backbone) -> None:
    for received, expected in zip(from_file.model.weights, bare().weights, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(received), keras.ops.convert_to_numpy(expected))


@pytest.mark.slow
def test_a_file_gives_the_space_of_its_weights_and_not_of_its_path(from_file: Backbone, weights_file: Path, tmp_path: Path) -> None:
    shutil.copy(weights_file, tmp_path / "elsewhere.hdf5")
    assert from_file.space == backbones.build(recipe(tmp_path / "elsewhere.hdf5")).space


@pytest.mark.slow
def test_a_whole_model_in_h5_is_read_for_its_tensors_only(from_file: Backbone, tmp_path: Path) -> None:
    bare().save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        file.attrs["model_config"] = "whatever this is, nobody looks at it"
    assert backbones.build(recipe(tmp_path / "model.h5")).space == from_file.space


@pytest.mark.slow
def test_a_file_of_another_width_is_refused_with_the_first_difference(tmp_path: Path) -> None:
    write_layers(tmp_path / "narrow.h5", bare(alpha=0.5))
    refuse(tmp_path / "narrow.h5", r"do not fit mobilenet(.|\n)*first difference, layer 0: expected conv1.*8.*, the file has .*16")


@pytest.mark.slow
def test_a_file_of_another_architecture_is_refused(tmp_path: Path) -> None:
    write_layers(tmp_path / "dense.h5", keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    refuse(tmp_path / "dense.h5", "the file 1\n")


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["classic", "keras 3"])
def test_the_top_of_a_file_is_dropped(from_file: Backbone, tmp_path: Path, layout: str) -> None:
    whole, base = bare(include_top=True, classes=7), from_file
    for layer, known in zip(whole.layers, base.model.layers, strict=False):
        layer.set_weights(known.get_weights())
    path = tmp_path / "top.weights.h5"
    write_layers(path, whole) if layout == "classic" else whole.save_weights(path)
    assert backbones.build(recipe(path)).space == base.space
    top = backbones.build(recipe(path, layer="predictions"))
    assert top.model.output_shape == (None, 7)
    assert top.recipe.pooling == top.space.pooling == "none"
    assert np.array_equal(top.model.get_weights()[-1], whole.get_weights()[-1])


@pytest.mark.slow
def test_a_layer_of_the_top_needs_weights_with_top(weights_file: Path) -> None:
    with pytest.raises(UsageError, match=r"lies in the classification top of mobilenet, and .* has none"):
        backbones.build(recipe(weights_file, layer="predictions"))


@pytest.mark.slow
def test_more_than_a_top_is_refused(tmp_path: Path) -> None:
    base = bare(include_top=True, classes=7)
    more = keras.Model(base.input, keras.layers.Dense(3)(base.output))
    write_layers(tmp_path / "more.h5", more)
    refuse(tmp_path / "more.h5", "left over in the file: conv_preds, dense.*no classification top")


def test_what_is_no_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"\x80\x04K\x01.")
    refuse(tmp_path / "x.h5", "is not a readable HDF5 file")


@pytest.mark.slow
def test_a_truncated_file_is_refused(weights_file: Path, tmp_path: Path) -> None:
    (tmp_path / "half.h5").write_bytes(weights_file.read_bytes()[: weights_file.stat().st_size // 2])
    refuse(tmp_path / "half.h5", "is not a readable HDF5 file")


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_refused(weights_file: Path, tmp_path: Path) -> None:
    """ReLU6 hides them: each image would have the same features, and nobody would be told."""
    broken = tmp_path / "nan.h5"
    shutil.copy(weights_file, broken)
    with h5py.File(broken, "r+") as file:
        first: list[h5py.Dataset] = []
        file.visititems(lambda _, item: first.append(item) if isinstance(item, h5py.Dataset) and item.ndim == 4 else None)
        first[0][...] = np.nan
    refuse(broken, "are no numbers")


@pytest.mark.slow
def test_an_hdf5_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.zeros(3)
    refuse(tmp_path / "data.h5", "it has neither 'layer_names' nor 'layers'")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["mobilenet_v2", *(pytest.param(name, marks=pytest.mark.full) for name in ("convnext_tiny", "xception", "efficientnet_v2_b0"))]
)
def test_keras_3s_own_layout_is_read_as_keras_reads_it(tmp_path: Path, name: str) -> None:
    keras.utils.set_random_seed(5)
    seeded = Recipe(name, weights="random:5", input_size=96)
    model = build_network(seeded)
    model.save_weights(tmp_path / "new.weights.h5")
    loaded = backbones.build(Recipe(name, weights=str(tmp_path / "new.weights.h5"), input_size=96))
    assert loaded.space == backbones.build(seeded).space


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_the_name_of_a_good_file_does_not_matter(from_file: Backbone, weights_file: Path, tmp_path: Path) -> None:
    shutil.copy(weights_file, tmp_path / "mine.weights.h5")
    assert backbones.build(recipe(tmp_path / "mine.weights.h5")).space == from_file.space


@pytest.mark.slow
def test_an_external_link_is_refused(damaged: Callable[..., Path], tmp_path: Path) -> None:
    def link(file: h5py.File) -> None:
        file["conv1"]["more"] = h5py.ExternalLink("/etc/passwd", "/")

    refuse(damaged(link), "'more' in it is a link, possibly to another file")


@pytest.mark.slow
def test_a_soft_link_is_refused(damaged: Callable[..., Path]) -> None:
    def link(file: h5py.File) -> None:
        file["elsewhere"] = h5py.SoftLink("/conv1")

    refuse(damaged(link), "'elsewhere' in it is a link")


@pytest.mark.slow
def test_data_in_another_file_is_refused(damaged: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(16))

    def external(file: h5py.File) -> None:
        file.create_dataset("outside", shape=(4,), dtype="f4", external=[(str(tmp_path / "raw"), 0, 16)])

    refuse(damaged(external), "the data of 'outside' lies in another file")


@pytest.mark.slow
def test_virtual_data_is_refused(damaged: Callable[..., Path], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(4, np.float32)

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(4,))
        file.create_virtual_dataset("virtual", layout)

    refuse(damaged(virtual), "the data of 'virtual' lies in another file")


def drop_layer(file: h5py.File) -> None:
    del file["conv1"]


def drop_weight_names(file: h5py.File) -> None:
    del file["conv1"].attrs["weight_names"]


def drop_tensor(file: h5py.File) -> None:
    del file["conv1"][file["conv1"].attrs["weight_names"][0]]


def number_as_layer_names(file: h5py.File) -> None:
    file.attrs["layer_names"] = 5


def group_as_tensor(file: h5py.File) -> None:
    drop_tensor(file)
    file["conv1"].create_group(file["conv1"].attrs["weight_names"][0])


def text_as_tensor(file: h5py.File) -> None:
    name = file["conv1"].attrs["weight_names"][0]
    shape = file["conv1"][name].shape
    drop_tensor(file)
    file["conv1"][name] = np.full(shape, b"x", "S1")


def named_type(file: h5py.File) -> None:
    file["type"] = np.dtype("f8")


def circle(file: h5py.File) -> None:
    file["conv1"]["again"] = file["/"]  # a hard link: HDF5 allows circles of them


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [drop_layer, drop_weight_names, drop_tensor, number_as_layer_names, group_as_tensor, text_as_tensor, named_type, circle],
    ids=lambda change: change.__name__,
)
def test_a_malformed_file_is_refused(damaged: Callable[..., Path], change: Callable[[h5py.File], None]) -> None:
    refuse(damaged(change), "--weights")


# Real weights on real photographs


def plain_keras(model: keras.Model, images: np.ndarray, mode: str) -> np.ndarray:
    pixels = keras.applications.imagenet_utils.preprocess_input(images.astype(np.float32), mode=mode)
    return keras.ops.convert_to_numpy(model(pixels, training=False)).mean(axis=(1, 2))


@pytest.mark.full
@pytest.mark.slow
def test_real_weights_give_the_features_of_a_plain_keras_loop(shared_data: Path) -> None:
    folder = shared_data / "weights"
    v2, v1 = keras.applications.MobileNetV2, keras.applications.MobileNet
    bare_file, top_file = folder / "mobilenet_v2_1.0_224_dequant_no_top.h5", folder / "mobilenet_v2_1.0_224_dequant.h5"
    narrow, v1_file, squeezenet = (
        folder / "mobilenet_v2_0.35_224_no_top.h5",
        folder / "mobilenet_7_5_224_tf_no_top.h5",
        folder / "squeezenet_1_1_notop.keras",
    )
    shape = {"input_shape": (224, 224, 3)}
    cases = {
        "with top": (Recipe("mobilenet_v2", weights=str(top_file)), v2(include_top=False, weights=str(bare_file), **shape), "tf"),
        "0.35": (
            Recipe("mobilenet_v2", weights=str(narrow), args={"alpha": "0.35"}),
            v2(alpha=0.35, include_top=False, weights=str(narrow), **shape),
            "tf",
        ),  # type: ignore[arg-type]
        "0.75": (
            Recipe("mobilenet", weights=str(v1_file), args={"alpha": "0.75"}),
            v1(alpha=0.75, include_top=False, weights=str(v1_file), **shape),
            "tf",
        ),  # type: ignore[arg-type]
        "squeezenet": (Recipe(str(squeezenet), preprocessing="caffe"), keras.models.load_model(squeezenet), "caffe"),
    }
    with tarfile.open(shared_data / "clothing" / "images.tar") as tar:
        photos = [member for member in tar.getmembers() if member.isfile()][:4]
        images = np.stack([decode(tar.extractfile(photo).read(), 224) for photo in photos])  # type: ignore[union-attr]
    spaces = set()
    for name, (chosen, model, mode) in cases.items():
        backbone = backbones.build(chosen)
        assert cosines(TensorFlowEngine(backbone, 4)(tf.constant(images)), plain_keras(model, images, mode)).min() >= 0.99999, name
        spaces.add(backbone.space.id)
    assert len(spaces) == 4
    assert backbones.build(Recipe("mobilenet_v2", weights=str(bare_file))).space.id in spaces  # top or not, it is one space


@pytest.mark.slow
def test_real_weights_of_another_width_are_refused(shared_data: Path) -> None:
    for name in ("mobilenet_v2_0.35_224_no_top.h5", "mobilenet_7_5_224_tf_no_top.h5"):
        with pytest.raises(UsageError, match="do not fit mobilenet_v2 without top"):
            backbones.build(Recipe("mobilenet_v2", weights=str(shared_data / "weights" / name)))
