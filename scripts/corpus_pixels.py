"""Photographs of a folder as pixels, for the benchmarks of engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from scripts.bench_options import jpegs_in


def read_pixels(folder: Path, size: int, most: int) -> npt.NDArray[np.uint8]:
    """Up to so many JPEGs of a folder, evenly chosen and squashed: uint8 [n, size, size, 3]."""
    files = jpegs_in(folder)
    chosen = files[:: max(1, len(files) // most)][:most]
    bilinear = Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.open(file).convert("RGB").resize((size, size), bilinear)) for file in chosen])
