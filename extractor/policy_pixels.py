"""Images as the network takes them, in memory: what the image policy makes of files, without a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from extractor.input_kind import InputKind
from extractor.pipeline import DecodePipeline

BATCH_IMAGES = 32


def policy_pixels(locations: Sequence[str], kind: InputKind, threads: int = 2) -> tuple[npt.NDArray[np.uint8], dict[int, tuple[str, str]]]:
    """Of n images (paths or URIs) uint8 [n, size, size, 3], view 0; rejects by position: (reason, message), whose rows are zero."""
    pixels = np.zeros((len(locations), kind.size, kind.size, 3), np.uint8)
    pipeline = DecodePipeline(locations, lambda digests: [1] * len(digests), [kind], BATCH_IMAGES, threads)
    for positions, [images] in pipeline.batches():
        pixels[positions] = images.numpy()[:: kind.views.count]
    return pixels, pipeline.outcomes.rejects
