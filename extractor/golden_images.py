"""The golden images, drawn by the program: small and large, JPEG and PNG, smooth and rough.

Their bytes depend on the encoder's version, so a set keeps the ones it was made with, and nobody draws them again for it.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

# name: (height, width) in pixels. Below and above the usual input sizes; the large JPEG is decoded at half scale up to an input of 320.
_IMAGES = {"small.jpg": (61, 97), "small.png": (97, 61), "large.jpg": (1280, 1920), "large.png": (480, 640)}


def draw_golden_images() -> dict[str, bytes]:
    """Encoded images by name: waves of several frequencies, a hard edge and a little noise, different in each image."""
    images = {}
    for seed, (name, (height, width)) in enumerate(_IMAGES.items()):
        buffer = io.BytesIO()
        Image.fromarray(_draw(height, width, seed)).save(buffer, "PNG" if name.endswith(".png") else "JPEG")
        images[name] = buffer.getvalue()
    return images


def _draw(height: int, width: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(2 * np.pi * (f * x + g * y) + phase) for f, g, phase in random.uniform(0.5, 9, (3, 3))]
    pixels = 128 + 70 * np.stack(waves, axis=-1) + random.normal(0, 6, (height, width, 3))
    pixels[:, width // 2 :] = 255 - pixels[:, width // 2 :]
    return pixels.clip(0, 255).astype(np.uint8)
