"""What the extractor's tests share: synthetic photographs, encoded images, a corpus writer and one small backbone."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import numpy.typing as npt
import pyarrow  # noqa: F401 - before TensorFlow
import pytest
from PIL import Image

from extractor import backbones
from extractor.backbones import Backbone
from extractor.recipe import Recipe
from tests.extractor.site import site  # noqa: F401 - a fixture

# The smallest network of the table: a third of MobileNetV2's time. Its end, of random weights, is nearly nothing; its start is not.
SMALL = Recipe("mobilenet", "random:1", input_size=32, dtype="float32", args={"alpha": 0.25})
SMALL_START = replace(SMALL, layer="conv_pw_2_relu")

Pixels = npt.NDArray[np.uint8]


@lru_cache(maxsize=32)  # drawing takes longer than encoding and decoding what was drawn
def _photo(height: int, width: int, seed: int = 0, noise: float = 6.0) -> Pixels:
    """RGB [height, width, 3], for reading only: smooth waves, different in each channel and without symmetry, with a little noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = np.stack([np.sin(2 * np.pi * (f * x + g * y) + seed) for f, g in ((0.7, 0.2), (0.3, 1.1), (1.5, 0.6))], axis=-1)
    pixels = (128 + 80 * waves + random.normal(0, noise, (height, width, 3))).clip(0, 255).astype(np.uint8)
    pixels.setflags(write=False)
    return pixels


def _encode(image: Image.Image | Pixels, format_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, format_name, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def photo() -> Callable[..., Pixels]:
    return _photo


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    return _encode


@pytest.fixture
def write_files(tmp_path: Path) -> Callable[..., Path]:
    """Write small files (content is the name) into a corpus folder and return it."""

    def write(*names: str) -> Path:
        root = tmp_path / "corpus"
        root.mkdir(exist_ok=True)
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.fsencode(name))
        return root

    return write


@pytest.fixture(scope="session")
def small_backbone() -> Backbone:
    """MobileNetV2 at 32 pixels with random weights: under a second to build."""
    return backbones.build(Recipe("mobilenet_v2", weights="random:0", input_size=32))
