from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from extractor import backbones
from extractor.backbone_table import BACKBONES
from extractor.backbones import Backbone
from extractor.recipe import Recipe
from storage.errors import UsageError

SIZE = 32


def recipe(weights: object = "random:0", **options: object) -> Recipe:
    return Recipe("mobilenet_v2", **{"weights": str(weights), "input_size": SIZE, **options})  # type: ignore[arg-type]


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
    return keras.applications.MobileNetV2(**{"include_top": False, "weights": None, "input_shape": (SIZE, SIZE, 3), **options})


@pytest.fixture(scope="module")
def weights_file() -> Iterator[Path]:
    """A good weights file, of seed 5."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.h5"
        write_layers(path, bare())
        yield path


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


def test_the_backbone_is_frozen_and_without_top(small_backbone: Backbone) -> None:
    assert not small_backbone.model.trainable_weights
    assert small_backbone.model.output_shape == (None, 1, 1, 1280)


def test_the_space_says_what_was_built(small_backbone: Backbone) -> None:
    space = small_backbone.space
    assert (space.pooling, space.input_size, space.preprocessing, space.dtype) == ("avg", SIZE, "tf", "float16")
    assert len(space.graph) == len(space.weights) == 64
    assert space.layer.startswith("relu_")


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


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_of_the_table_builds_at_its_size(name: str) -> None:
    entry = BACKBONES[name]
    backbone = backbones.build(Recipe(name, weights="random:0"))
    assert backbone.model.input_shape == (None, entry.input_size, entry.input_size, 3)
    assert backbone.model.output_shape[-1] == entry.features
    output = backbone.model(np.zeros((1, entry.input_size, entry.input_size, 3), np.float32), training=False)
    assert output.shape[-1] == entry.features
    keras.backend.clear_session()


def test_an_input_too_small_for_the_network_is_told() -> None:
    with pytest.raises(UsageError, match="--input-size 32 is too small for inception_v3"):
        backbones.build(Recipe("inception_v3", weights="random:0", input_size=32))


# Weights from a file


@pytest.mark.slow
def test_weights_are_loaded_from_a_file(weights_file: Path) -> None:
    backbone = backbones.build(recipe(weights_file))
    for received, expected in zip(backbone.model.weights, bare().weights, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(received), keras.ops.convert_to_numpy(expected))


@pytest.mark.slow
def test_a_file_gives_the_space_of_its_weights_and_not_of_its_path(weights_file: Path, tmp_path: Path) -> None:
    shutil.copy(weights_file, tmp_path / "elsewhere.hdf5")
    assert backbones.build(recipe(weights_file)).space == backbones.build(recipe(tmp_path / "elsewhere.hdf5")).space


@pytest.mark.slow
def test_a_whole_model_in_h5_is_read_for_its_tensors_only(weights_file: Path, tmp_path: Path) -> None:
    bare().save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        file.attrs["model_config"] = "whatever this is, nobody looks at it"
    assert backbones.build(recipe(tmp_path / "model.h5")).space == backbones.build(recipe(weights_file)).space


@pytest.mark.slow
def test_a_file_of_another_width_is_refused_with_the_first_difference(tmp_path: Path) -> None:
    write_layers(tmp_path / "narrow.h5", bare(alpha=0.35))
    refuse(tmp_path / "narrow.h5", r"do not fit mobilenet_v2(.|\n)*first difference, layer 0: expected Conv1.*32.*, the file has .*16")


@pytest.mark.slow
def test_a_file_of_another_architecture_is_refused(tmp_path: Path) -> None:
    write_layers(tmp_path / "dense.h5", keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    refuse(tmp_path / "dense.h5", "the file 1\n")


@pytest.mark.slow
def test_a_file_with_top_is_refused(tmp_path: Path) -> None:
    write_layers(tmp_path / "top.h5", bare(include_top=True, classes=7))
    refuse(tmp_path / "top.h5", "or it includes the classification top")


def test_what_is_no_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"\x80\x04K\x01.")
    refuse(tmp_path / "x.h5", "is not a readable HDF5 file")


@pytest.mark.slow
def test_a_truncated_file_is_refused(weights_file: Path, tmp_path: Path) -> None:
    (tmp_path / "half.h5").write_bytes(weights_file.read_bytes()[: weights_file.stat().st_size // 2])
    refuse(tmp_path / "half.h5", "is not a readable HDF5 file")


@pytest.mark.slow
def test_an_hdf5_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.zeros(3)
    refuse(tmp_path / "data.h5", "no 'layer_names'")


@pytest.mark.slow
def test_the_new_layout_of_keras_3_is_refused_in_words(tmp_path: Path) -> None:
    bare().save_weights(tmp_path / "new.weights.h5")
    refuse(tmp_path / "new.weights.h5", "layout of Keras 3's .weights.h5")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_the_name_of_a_good_file_does_not_matter(weights_file: Path, tmp_path: Path) -> None:
    shutil.copy(weights_file, tmp_path / "mine.weights.h5")
    assert backbones.build(recipe(tmp_path / "mine.weights.h5")).space == backbones.build(recipe(weights_file)).space


def test_an_external_link_is_refused(damaged: Callable[..., Path], tmp_path: Path) -> None:
    def link(file: h5py.File) -> None:
        file["Conv1"]["more"] = h5py.ExternalLink("/etc/passwd", "/")

    refuse(damaged(link), "'more' in it is a link, possibly to another file")


@pytest.mark.slow
def test_a_soft_link_is_refused(damaged: Callable[..., Path]) -> None:
    def link(file: h5py.File) -> None:
        file["elsewhere"] = h5py.SoftLink("/Conv1")

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
    del file["Conv1"]


def drop_weight_names(file: h5py.File) -> None:
    del file["Conv1"].attrs["weight_names"]


def drop_tensor(file: h5py.File) -> None:
    del file["Conv1"][file["Conv1"].attrs["weight_names"][0]]


def number_as_layer_names(file: h5py.File) -> None:
    file.attrs["layer_names"] = 5


def group_as_tensor(file: h5py.File) -> None:
    drop_tensor(file)
    file["Conv1"].create_group(file["Conv1"].attrs["weight_names"][0])


def text_as_tensor(file: h5py.File) -> None:
    name = file["Conv1"].attrs["weight_names"][0]
    shape = file["Conv1"][name].shape
    drop_tensor(file)
    file["Conv1"][name] = np.full(shape, b"x", "S1")


def named_type(file: h5py.File) -> None:
    file["type"] = np.dtype("f8")


def circle(file: h5py.File) -> None:
    file["Conv1"]["again"] = file["/"]  # a hard link: HDF5 allows circles of them


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [drop_layer, drop_weight_names, drop_tensor, number_as_layer_names, group_as_tensor, text_as_tensor, named_type, circle],
    ids=lambda change: change.__name__,
)
def test_a_malformed_file_is_refused(damaged: Callable[..., Path], change: Callable[[h5py.File], None]) -> None:
    refuse(damaged(change), "--weights")


@pytest.mark.slow
def test_real_weights_load_and_with_top_are_refused(shared_data: Path) -> None:
    folder = shared_data / "weights"
    good = backbones.build(Recipe("mobilenet_v2", weights=str(folder / "mobilenet_v2_1.0_224_dequant_no_top.h5")))
    assert good.model.output_shape == (None, 7, 7, 1280)
    for name in ("mobilenet_v2_1.0_224_dequant.h5", "mobilenet_v2_0.35_224_no_top.h5", "mobilenet_7_5_224_tf_no_top.h5"):
        with pytest.raises(UsageError, match="do not fit mobilenet_v2 without top"):
            backbones.build(Recipe("mobilenet_v2", weights=str(folder / name)))
