"""Images at locations as pixels, by the image policy: what a network that starts from the images is trained on and asked about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extractor.input_kind import InputKind
from extractor.pipeline import DecodePipeline

EVERYONE = 1  # a claim for the one who decodes here

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Decoded:
    """The n images at `positions` of the request, uint8 [n, S, S, 3], and the sha256 of each one's bytes.

    rejects: position -> (reason, message), of what gives no image; with the last batch, which may have no image.
    """

    positions: list[int]
    images: Pixels
    digests: list[bytes]
    rejects: dict[int, tuple[str, str]]


def decode_images(locations: Sequence[str], kind: InputKind, batch_size: int, threads: int) -> Iterator[Decoded]:
    """Decode images (paths or URIs) in the order of the request; what only the second decoder can read comes at the end."""
    pipeline = DecodePipeline(locations, lambda digests: [EVERYONE] * len(digests), [kind], batch_size, threads)
    found = pipeline.outcomes.digests
    for positions, (images,) in pipeline.batches():
        yield Decoded(positions, images.numpy(), [found[i] or b"" for i in positions], {})
    yield Decoded([], np.empty((0, kind.size, kind.size, 3), np.uint8), [], pipeline.outcomes.rejects)
