"""The golden images, drawn by the program: small and large, JPEG and PNG, smooth and rough.

Their bytes depend on the encoder's version, so a set keeps the ones it was made with, and nobody draws them again for it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

# name: (height, width) in pixels. Below and above the usual input sizes; the large JPEG is decoded at half scale up to an input of 320.
_IMAGES = {"small.jpg": (61, 97), "small.png": (97, 61), "large.jpg": (1280, 1920), "large.png": (480, 640)}


@cache  # 0.17 s, three times in a run
def draw_golden_images() -> Mapping[str, bytes]:
    """Encoded images by name: waves of several frequencies, a hard edge and a little noise, different in each image."""
    images = {}
    for seed, (name, (height, width)) in enumerate(_IMAGES.items()):
        buffer = io.BytesIO()
        Image.fromarray(_draw(height, width, seed)).save(buffer, "PNG" if name.endswith(".png") else "JPEG")
        images[name] = buffer.getvalue()
    return MappingProxyType(images)


def _draw(height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    y, x = (axis.astype(np.float32) / max(height, width) for axis in np.ogrid[0:height, 0:width])
    # sin(fx + gy + p) by the addition theorem: sines of rows and columns instead of every pixel.
    pixels = np.empty((height, width, 3), np.float32)
    for channel, (f, g, phase) in enumerate(2 * np.pi * random.uniform(0.5, 9, (3, 3)).astype(np.float32)):
        pixels[:, :, channel] = 128 + 70 * (np.sin(f * x + phase) * np.cos(g * y) + np.cos(f * x + phase) * np.sin(g * y))
    pixels += random.integers(-12, 13, pixels.shape, np.int8)
    pixels[:, width // 2 :] = 255 - pixels[:, width // 2 :]
    return pixels.clip(0, 255).astype(np.uint8)
