"""The golden images, drawn by the program: small and large, JPEG and PNG, smooth and rough.

Their bytes depend on the encoder's version, so a set keeps the ones it was made with, and nobody draws them again for it.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_SIZES = {"small": (61, 97), "large": (720, 1280)}  # height, width in pixels: one below every input size, one above


def draw_golden_images() -> dict[str, bytes]:
    """Encoded images by name: waves of several frequencies, a hard edge and a little noise, different in each image."""
    images = {}
    for seed, (size, (height, width)) in enumerate(_SIZES.items()):
        for format_name, suffix in (("JPEG", "jpg"), ("PNG", "png")):
            pixels = _draw(height, width, seed=2 * seed + (format_name == "PNG"))
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, format_name)
            images[f"{size}.{suffix}"] = buffer.getvalue()
    return images


def _draw(height: int, width: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(2 * np.pi * (f * x + g * y) + phase) for f, g, phase in random.uniform(0.5, 9, (3, 3))]
    pixels = 128 + 70 * np.stack(waves, axis=-1) + random.normal(0, 6, (height, width, 3))
    pixels[:, width // 2 :] = 255 - pixels[:, width // 2 :]
    return pixels.clip(0, 255).astype(np.uint8)
