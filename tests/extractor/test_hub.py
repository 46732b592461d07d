"""KerasHub presets: where the extra is installed, from local folders, because no hub is at hand in tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from extractor import backbones
from extractor.batch_size import image_bytes
from extractor.recipe import Recipe
from extractor.tensorflow_engine import TensorFlowEngine
from storage.errors import NotFoundError, UsageError

SIZE = 64


def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'permafrost\[hub\]'"):
        backbones.build(Recipe("hub:resnet_50_imagenet"))


def test_a_preset_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="names no preset"):
        Recipe("hub:")
    with pytest.raises(NotFoundError, match="no preset there"):
        Recipe(f"hub:{tmp_path}")
    (tmp_path / "config.json").touch()
    monkeypatch.chdir(tmp_path.parent)
    assert Recipe(f"hub:./{tmp_path.name}").name == f"hub:{tmp_path}"


@pytest.fixture
def preset(tmp_path: Path) -> Callable[..., Path]:
    """A small ResNet or ViT as a preset folder, with an image converter of that scaling."""
    hub = pytest.importorskip("keras_hub")

    def make(kind: str, **scaling: Any) -> Path:
        keras.utils.set_random_seed(0)
        if kind == "resnet":
            filters = {"input_conv_filters": [64], "input_conv_kernel_sizes": [7], "stackwise_num_filters": [64, 64]}
            blocks = {"stackwise_num_blocks": [1, 1], "stackwise_num_strides": [1, 2], "block_type": "basic_block"}
            model, converter = hub.models.ResNetBackbone(**filters, **blocks), hub.layers.ResNetImageConverter
        else:
            sizes = {"patch_size": 16, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
            model, converter = hub.models.ViTBackbone(image_shape=(SIZE, SIZE, 3), **sizes), hub.layers.ViTImageConverter
        model.save_to_preset(str(tmp_path))
        if scaling:
            converter(image_size=(SIZE, SIZE), **scaling).save_to_preset(str(tmp_path))
        return tmp_path

    return make


STDDEV, MEAN = (0.229, 0.224, 0.225), (0.485, 0.456, 0.406)
TORCH = {"scale": [1 / 255 / s for s in STDDEV], "offset": [-m / s for m, s in zip(MEAN, STDDEV, strict=True)]}
TF = {"scale": 1 / 127.5, "offset": -1}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "scaling", "mode", "width"), [("resnet", TORCH, "torch", 64), ("vit", TF, "tf", 8)])
def test_a_preset_gives_what_kerashub_gives(preset: Callable[..., Path], kind: str, scaling: dict[str, Any], mode: str, width: int) -> None:
    import keras_hub

    folder = preset(kind, **scaling)
    backbone = backbones.build(Recipe(f"hub:{folder}"))
    assert (backbone.recipe.input_size, backbone.recipe.preprocessing, backbone.recipe.weights) == (SIZE, mode, "own")
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    pixels = keras_hub.layers.ImageConverter.from_preset(str(folder))(images.astype(np.float32))
    expected = keras.ops.convert_to_numpy(keras_hub.models.Backbone.from_preset(str(folder))(pixels))
    expected = expected.reshape(2, -1, width).mean(axis=1)
    assert np.allclose(TensorFlowEngine(backbone, 2)(tf.constant(images)), expected, rtol=1e-3, atol=1e-5)
    assert backbones.build(Recipe(f"hub:{folder}")).space == backbone.space


@pytest.mark.slow
def test_a_scaling_without_a_name_has_to_be_stated(preset: Callable[..., Path]) -> None:
    folder = preset("resnet", scale=1 / 255)
    with pytest.raises(UsageError, match="state --preprocessing"):
        backbones.build(Recipe(f"hub:{folder}"))
    assert backbones.build(Recipe(f"hub:{folder}", preprocessing="torch")).space.preprocessing == "torch"


@pytest.mark.slow
def test_a_flexible_preset_is_measured_at_its_size(preset: Callable[..., Path]) -> None:
    backbone = backbones.build(Recipe(f"hub:{preset('resnet', **TORCH)}", input_size=224, layer="conv1_relu"))
    assert backbone.model.output_shape == (None, None, None, 64)
    assert image_bytes(backbone) < 4 * (3 * 224**2 + 2 * 64 * 120**2)
