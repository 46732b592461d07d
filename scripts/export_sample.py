"""The images that an export is compared on, and what the cached path says of them: embedding, storage dtype, head."""

from __future__ import annotations

import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from extractor.content import read_content
from extractor.decoded_images import decode_images
from extractor.embed import embed_images
from extractor.golden_images import draw_golden_images
from extractor.limits import MAX_FILE_BYTES
from extractor.recipe import Recipe
from scripts.export_model import kind_of
from scripts.named_images import NamedImages
from storage.errors import UnstorableError
from trainer import Head

BATCH_IMAGES = 32


@dataclass(frozen=True)
class Sample:
    """n images: encoded bytes, what the image policy makes of them (uint8 [n, size, size, 3]), the cached path's probabilities [n, C]."""

    names: list[str]
    encoded: list[bytes]
    pixels: npt.NDArray[np.uint8]
    expected: npt.NDArray[np.float32]


def take_sample(head: Head, recipe: Recipe | None, images: NamedImages) -> Sample:
    """The golden images, PNGs of few bits, and those that the user named; what cannot be embedded joins the rejects of `images`.

    recipe: of the network that makes the head's features; None for a head that takes pixels. Raises UnstorableError where that
    is so of the golden images.
    """
    golden, threads = _golden_images(), os.cpu_count() or 2
    with tempfile.TemporaryDirectory() as folder:
        for name, encoded in golden.items():
            (Path(folder) / name).write_bytes(encoded)
        names = [f"golden {name}" for name in golden] + images.names
        locations = [str(Path(folder) / name) for name in golden] + images.locations
        kind, rejects = kind_of(head), dict[int, tuple[str, str]]()
        pixels = np.zeros((len(names), kind.size, kind.size, 3), np.uint8)
        for decoded in decode_images(locations, kind, BATCH_IMAGES, threads):
            pixels[decoded.positions] = decoded.images
            rejects |= decoded.rejects
        expected = np.zeros((len(names), len(head.classes)), np.float32)
        if recipe is None:
            expected[:] = head.predict(pixels)
        else:
            for batch in embed_images(locations, recipe, head.space, f"the head {head.folder}", threads):
                expected[batch.positions] = head.predict(batch.embeddings)
                rejects |= batch.rejects
        if bad := [rejects[i] for i in range(len(golden)) if i in rejects]:
            raise UnstorableError(f"{len(bad)} of {len(golden)} known good images gave no embedding: {bad[0][1]}", 0)
        kept = [i for i in range(len(names)) if i not in rejects]
        encoded_ones = [read_content(locations[i], MAX_FILE_BYTES).encoded for i in kept]
    images.rejects += [{"image": names[i], "reason": reason, "message": message} for i, (reason, message) in sorted(rejects.items())]
    return Sample([names[i] for i in kept], encoded_ones, pixels[kept], expected[kept])


def _golden_images() -> dict[str, bytes]:
    """Those of each set, which stay as they are, and PNGs of fewer than 8 bits a sample, which decoders of graphs read in another way."""
    images = draw_golden_images()
    drawn = Image.open(io.BytesIO(images["small.png"]))
    few_bits = {"palette of 4 bits.png": drawn.quantize(16), "grey of 1 bit.png": drawn.convert("1")}
    return {**images, **{name: _png(image) for name, image in few_bits.items()}}


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
