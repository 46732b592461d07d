"""What only OpenVINO's engine can do to us: networks that it cannot convert."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import storage
from extractor import ExtractOptions, Recipe, backbones, extract
from extractor.backbone_source import OWN
from storage.errors import UsageError
from storage.golden import cosines

pytest.importorskip("openvino", reason="the openvino extra is not installed")

pytestmark = pytest.mark.slow

LACKING = {"bicubic": "ResizeBicubic", "lanczos3": "ScaleAndTranslate"}  # of OpenVINO, by the interpolation that needs it


def resizing(path: Path, interpolation: str) -> Recipe:
    """A network that begins with a resize of its own."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Resizing(16, 16, interpolation=interpolation)(inputs)
    keras.Model(inputs, keras.layers.Conv2D(4, 3)(x)).save(path / "resizing.keras")
    return Recipe(str(path / "resizing.keras"), OWN, preprocessing="tf", dtype="float32")


@pytest.mark.parametrize("interpolation", LACKING)
def test_a_network_that_cannot_be_converted_is_refused_in_words(interpolation: str, tmp_path: Path) -> None:
    from extractor.openvino_engine import OpenVinoEngine

    backbone = backbones.build(resizing(tmp_path, interpolation))
    root = logging.getLogger()
    before = (root.level, root.filters[:], root.handlers[:])
    with pytest.raises(UsageError, match=f"cannot convert this network .*{LACKING[interpolation]}.*: use --engine tensorflow"):
        OpenVinoEngine(backbone, 4)
    assert (root.level, root.filters, root.handlers) == before, "later notes are heard"


def test_a_failure_within_an_operation_is_told_by_its_name(tmp_path: Path) -> None:
    from extractor.openvino_engine import OpenVinoEngine

    inputs = keras.Input((32, 32, 3))
    spectrum = keras.ops.fft2((keras.ops.transpose(inputs, (0, 3, 1, 2)),) * 2)[0]
    keras.Model(inputs, keras.ops.transpose(spectrum, (0, 2, 3, 1))).save(tmp_path / "spectrum.keras")
    backbone = backbones.build(Recipe(str(tmp_path / "spectrum.keras"), OWN, preprocessing="tf"))
    with pytest.raises(UsageError, match=r"cannot convert this network \([^\n]*FFT2D[^\n]*\): use --engine tensorflow"):
        OpenVinoEngine(backbone, 4)


def test_memory_that_is_short_while_the_network_is_converted_halves_the_batch() -> None:
    """OpenVINO's words are its own, from MobileNetV2 in a process whose address space was limited to 100 MiB more than it had."""
    from extractor.openvino_engine import OpenVinoEngine

    class Greedy(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            if x.shape[0] is not None and x.shape[0] > 2:
                raise RuntimeError("Exception from src/core/src/runtime/allocator.cpp:79:\nstd::bad_alloc\n")
            return x

    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, Greedy()(inputs))
    backbone = backbones.build(Recipe("mobilenet", "random:0", args=(("alpha", 0.25),), input_size=32))
    engine = OpenVinoEngine(replace(backbone, model=model), 16, threads=2)
    assert engine.batch_size == 4


def test_workers_side_by_side_are_not_bound_to_the_same_cores() -> None:
    from extractor.openvino_engine import OpenVinoEngine

    backbone = backbones.build(Recipe("mobilenet", "random:0", args=(("alpha", 0.25),), input_size=32))
    [request, *_] = OpenVinoEngine(backbone, 2, threads=1)._free
    assert request.get_compiled_model().get_property("ENABLE_CPU_PINNING") is False


def attentive(path: Path) -> None:
    """A network of which OpenVINO's conversion makes a scalar output beside its own."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 8, strides=8, activation="relu")(inputs)
    x = keras.layers.Reshape((16, 8))(x)
    x = keras.layers.MultiHeadAttention(2, 4)(x, x)
    keras.Model(inputs, keras.layers.Reshape((4, 4, 8))(x)).save(path)


@pytest.mark.full  # 15 s of calibration; the contract of engines calibrates one without attention
def test_a_network_with_attention_is_calibrated_for_an_int8_set(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    attentive(tmp_path / "attentive.keras")
    recipe = Recipe(str(tmp_path / "attentive.keras"), OWN, preprocessing="tf", dtype="float32")
    features = []
    for precision in ("float32", "int8"):
        name = tmp_path / "store/team" / precision
        options = ExtractOptions(replace(recipe, precision=precision), local=True, engine="openvino")
        assert extract(make_corpus(8), name, options).rows == 8
        features.append(storage.open(name).to_numpy()[1])
    assert cosines(*features).min() > 0.98


def test_two_sets_of_the_same_features_of_a_network_with_attention(tmp_path: Path) -> None:
    from extractor.openvino_engine import OpenVinoEngine

    attentive(tmp_path / "attentive.keras")
    maps = Recipe(str(tmp_path / "attentive.keras"), OWN, preprocessing="tf", pooling="none")
    ((_, first), (_, second)) = backbones.build_together([maps, replace(maps, dtype="float32")])[0]
    one, other = OpenVinoEngine(first, 2, [second]).embed(np.zeros((2, 32, 32, 3), np.uint8))
    assert one.shape == (2, 4, 4, 8)
    assert np.array_equal(one, other)


def test_auto_leaves_it_out_and_says_why(make_corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.engine_trial.MIN_SECONDS", 0.0)
    options = ExtractOptions(resizing(tmp_path, "bicubic"), local=True, engine="auto")
    result = extract(make_corpus(8), tmp_path / "store/team/set", options)
    assert (result.rows, result.engine["name"]) == (8, "tensorflow")
    assert (
        "openvino left out: OpenVINO cannot convert this network (No conversion rule found for operations: ResizeBicubic)"
        in (result.engine["why"])
    )
    assert "\n" not in result.engine["why"]
