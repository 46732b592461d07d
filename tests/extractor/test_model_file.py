from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from extractor import backbones
from extractor.recipe import Recipe
from extractor.tensorflow_engine import TensorFlowEngine
from storage.errors import NotFoundError, UsageError

SIZE = 32


def network(size: int | None = SIZE, **options: Any) -> keras.Model:
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", **options)(inputs)
    return keras.Model(inputs, keras.layers.BatchNormalization()(x))


def recipe(path: Path, **options: Any) -> Recipe:
    return Recipe(str(path), **{"preprocessing": "tf", **options})


def refuse(path: Path, words: str, **options: Any) -> None:
    with pytest.raises(UsageError, match=words):
        backbones.build(recipe(path, **options))


def saved(model: keras.Model, path: Path) -> Path:
    model.save(path)
    return path


@pytest.fixture(scope="module")
def model_file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        keras.utils.set_random_seed(0)
        yield saved(network(), Path(folder) / "model.keras")


Change = Callable[[dict[str, bytes]], None]


@pytest.fixture
def changed(model_file: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the good file with changed members."""

    def make(change: Change, compression: int = zipfile.ZIP_STORED) -> Path:
        with zipfile.ZipFile(model_file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        change(members)
        path = tmp_path / "changed.keras"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return path

    return make


def edit_config(edit: Callable[[dict[str, Any]], None]) -> Change:
    def change(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        edit(config)
        members["config.json"] = json.dumps(config).encode()

    return change


def edit_tensors(edit: Callable[[h5py.File], None]) -> Change:
    def change(members: dict[str, bytes]) -> None:
        buffer = io.BytesIO(members["model.weights.h5"])
        with h5py.File(buffer, "r+") as file:
            edit(file)
        members["model.weights.h5"] = buffer.getvalue()

    return change


def test_a_model_file_gives_what_the_model_gives(model_file: Path) -> None:
    backbone = backbones.build(recipe(model_file))
    assert (backbone.recipe.input_size, backbone.recipe.weights) == (SIZE, "own")
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    expected = keras.models.load_model(model_file)(images.astype(np.float32) / 127.5 - 1, training=False).numpy().mean(axis=(1, 2))
    assert np.allclose(TensorFlowEngine(backbone, 2)(tf.constant(images)), expected, rtol=1e-4, atol=1e-6)


def test_a_moved_file_is_the_same_space(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(model_file, tmp_path / "other.keras")
    monkeypatch.chdir(tmp_path)
    moved = Recipe("other.keras", preprocessing="tf")
    assert moved.name == str(tmp_path / "other.keras")
    assert backbones.build(moved).space == backbones.build(recipe(model_file)).space


def test_a_sequential_model_is_a_backbone_too(model_file: Path, tmp_path: Path) -> None:
    functional = keras.models.load_model(model_file)
    path = saved(keras.Sequential([keras.Input((SIZE, SIZE, 3)), *functional.layers[1:]]), tmp_path / "s.keras")
    assert backbones.build(recipe(path)).space == backbones.build(recipe(model_file)).space
    assert backbones.build(recipe(path, layer="conv2d_1")).model.output_shape == (None, 30, 30, 4)  # the canonical name


def test_what_has_to_be_stated(tmp_path: Path, model_file: Path) -> None:
    with pytest.raises(UsageError, match="state --preprocessing"):
        Recipe(str(model_file))
    refuse(model_file, "--input-size 64: .* takes images of 32 pixels and no others", input_size=64)
    flexible = saved(network(None), tmp_path / "flexible.keras")
    refuse(flexible, "state --input-size")
    assert TensorFlowEngine(backbones.build(recipe(flexible, input_size=40, pooling="none")), 2).shape == (38, 38, 4)
    with pytest.raises(UsageError, match="brings its own weights"):
        recipe(model_file, weights="random:0")
    with pytest.raises(UsageError, match="no such argument"):
        recipe(model_file, args={"alpha": 1})


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.h5").touch()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    for name, words in {
        "model.h5": "in .h5 cannot be loaded safely",
        "saved": "a SavedModel can run code",
        "x.pkl": "unknown backbone",
    }.items():
        with pytest.raises(UsageError, match=words):
            recipe(tmp_path / name)
    with pytest.raises(NotFoundError, match="no such file"):
        recipe(tmp_path / "nowhere.keras")


def two_inputs() -> keras.Model:
    inputs = [keras.Input((SIZE, SIZE, 3)) for _ in range(2)]
    return keras.Model(inputs, keras.layers.Add()(inputs))


def two_outputs() -> keras.Model:
    model = network()
    return keras.Model(model.input, [model.output, model.layers[1].output])


def no_image() -> keras.Model:
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])


def half() -> keras.Model:
    return network(dtype="mixed_float16")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (two_inputs, "has 2 inputs"),
        (two_outputs, "2 outputs"),
        (no_image, "expected square RGB images"),
        (half, "does not compute in float32"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_model_that_maps_no_image_to_one_feature_is_refused(tmp_path: Path, make: Callable[[], keras.Model], words: str) -> None:
    refuse(saved(make(), tmp_path / "x.keras"), words)


@keras.saving.register_keras_serializable("test_model_file")
class Mine(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x


def test_code_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((SIZE, SIZE, 3))
    for layer, words in ((keras.layers.Lambda(lambda x: x), "holds a Lambda"), (Mine(), "code from outside Keras")):
        refuse(saved(keras.Model(inputs, layer(inputs)), tmp_path / "x.keras"), words)


def call_get_file(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["config"]["activation"] = {"module": "keras.utils", "class_name": "function", "config": "get_file"}


def foreign_module(config: dict[str, Any]) -> None:
    config["config"]["layers"][1].update(module="os", class_name="system")


def huge(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["config"]["filters"] = 10**11
    for layer in config["config"]["layers"]:
        layer.pop("build_config", None)  # they would contradict it


def circular(config: dict[str, Any]) -> None:
    layers = config["config"]["layers"]
    layers[1]["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] = layers[2]["name"]


def no_layers(config: dict[str, Any]) -> None:
    del config["config"]["layers"]


def registered(config: dict[str, Any]) -> None:
    """As of a class of the main program: this process knows it, and the file names no module."""
    config["config"]["layers"][1].update(module=None, class_name="Mine", registered_name="test_model_file>Mine", config={})


def registered_unknown(config: dict[str, Any]) -> None:
    config["config"]["layers"][1].update(module=None, class_name="My", registered_name="my>My", config={})


def registered_by_class_name(config: dict[str, Any]) -> None:
    config["config"]["layers"][1] = {"class_name": "test_model_file>Mine", "config": {}, "inbound_nodes": []}


def registered_function(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["config"]["activation"] = {"module": "builtins", "class_name": "function", "config": "my>act"}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (call_get_file, "keras.utils.function in it is code from outside"),
        (foreign_module, "os.system in it is code"),
        (registered, "test_model_file>Mine in it is code from outside Keras"),
        (registered_unknown, "my>My in it is code from outside Keras"),
        (registered_by_class_name, "test_model_file>Mine in it is code from outside Keras"),
        (registered_function, "my>act in it is code from outside Keras"),
        (huge, "bytes of weights and stores"),
        (circular, "cannot be loaded as a model"),
        (no_layers, "cannot be loaded as a model"),
        (dict.clear, "cannot be loaded as a model"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_hostile_description_is_refused(changed: Callable[..., Path], edit: Callable[[dict[str, Any]], None], words: str) -> None:
    refuse(changed(edit_config(edit)), words)


def external(file: h5py.File) -> None:
    file["layers"]["more"] = h5py.ExternalLink("/etc/passwd", "/")


def bomb(file: h5py.File) -> None:
    file.create_dataset("bomb", shape=(10**11,), dtype="f4", chunks=(1024,), compression="gzip")


def lost(file: h5py.File) -> None:
    del file["layers"]["conv2d"]["vars"]["0"]


@pytest.mark.parametrize(
    ("edit", "words"),
    [(external, "is a link"), (bomb, "claims 400000000000 bytes"), (lost, "")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_hostile_tensors_are_refused(changed: Callable[..., Path], edit: Callable[[h5py.File], None], words: str) -> None:
    refuse(changed(edit_tensors(edit)), words)


@pytest.mark.parametrize(
    ("member", "data", "words"),
    [
        ("../../evil.py", b"x", "unexpected '../../evil.py' in it"),
        ("assets/a/b.txt", b"x", "unexpected 'assets/a/b.txt' in it"),
        ("config.json", b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
        ("config.json", b"nonsense", "cannot be loaded as a model"),
        ("config.json", b"[]", "cannot be loaded as a model"),
        ("config.json", b'{"a": "\xff"}', "cannot be loaded as a model"),
        ("model.weights.h5", b"nonsense", "is not a readable HDF5 file"),
    ],
)
def test_a_hostile_member_is_refused(changed: Callable[..., Path], member: str, data: bytes, words: str) -> None:
    refuse(changed(lambda members: members.update({member: data})), words)


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_a_missing_or_exploding_member_is_refused(changed: Callable[..., Path], member: str) -> None:
    def drop(members: dict[str, bytes]) -> None:
        del members[member]

    refuse(changed(drop), f"it has no {member}")
    refuse(
        changed(lambda members: members.update({member: bytes(1 << 22)}), zipfile.ZIP_DEFLATED),
        f"{member} in it would become 4194304 bytes",
    )


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(model_file: Path, tmp_path: Path, keep: float) -> None:
    data = model_file.read_bytes()
    (tmp_path / "cut.keras").write_bytes(data[: int(len(data) * keep)])
    refuse(tmp_path / "cut.keras", "cannot be loaded as a model")


def test_flipped_bytes_are_refused_or_harmless(model_file: Path, tmp_path: Path) -> None:
    data = model_file.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(data), 12):
        (tmp_path / "x.keras").write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        with contextlib.suppress(UsageError):
            backbones.build(recipe(tmp_path / "x.keras"))
