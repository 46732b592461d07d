"""The images that an export is compared on, and what the cached path says of them: embedding, storage dtype, head."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extractor.content import read_content
from extractor.embed import embed_images
from extractor.golden_images import draw_golden_images
from extractor.limits import MAX_FILE_BYTES
from extractor.policy_pixels import policy_pixels
from extractor.recipe import Recipe
from scripts.export_model import kind_of, takes_pixels
from scripts.named_images import NamedImages
from trainer import Head


@dataclass(frozen=True)
class Sample:
    """n images: encoded bytes, what the image policy makes of them (uint8 [n, size, size, 3]), the cached path's probabilities [n, C]."""

    names: list[str]
    encoded: list[bytes]
    pixels: npt.NDArray[np.uint8]
    expected: npt.NDArray[np.float32]


def take_sample(head: Head, recipe: Recipe, images: NamedImages) -> Sample:
    """The golden images, and those that the user named; what cannot be embedded joins the rejects of `images`."""
    golden, threads = draw_golden_images(), os.cpu_count() or 2
    with tempfile.TemporaryDirectory() as folder:
        for name, encoded in golden.items():
            (Path(folder) / name).write_bytes(encoded)
        names = [f"golden {name}" for name in golden] + images.names
        locations = [str(Path(folder) / name) for name in golden] + images.locations
        pixels, rejects = policy_pixels(locations, kind_of(head), threads)
        expected = np.zeros((len(names), len(head.classes)), np.float32)
        if takes_pixels(head):
            expected[:] = head.predict(pixels)
        else:
            for batch in embed_images(locations, recipe, head.space, f"the head {head.folder}", threads):
                expected[batch.positions] = head.predict(batch.embeddings)
                rejects |= batch.rejects
        kept = [i for i in range(len(names)) if i not in rejects]
        encoded_ones = [read_content(locations[i], MAX_FILE_BYTES).encoded for i in kept]
    images.rejects += [{"image": names[i], "reason": reason, "message": message} for i, (reason, message) in sorted(rejects.items())]
    return Sample([names[i] for i in kept], encoded_ones, pixels[kept], expected[kept])
