"""The parity test of an export: what its serving library answers for images, against the cached path (embedding, storage dtype, head)."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image

from extractor.content import read_content
from extractor.embed import embed_images
from extractor.golden_images import draw_golden_images
from extractor.image_model import PIXELS
from extractor.limits import MAX_FILE_BYTES
from extractor.policy_pixels import policy_pixels
from extractor.recipe import Recipe
from scripts.export_formats import IMAGE_BYTES, Answer, Format, Probabilities
from scripts.export_model import kind_of, takes_pixels
from scripts.named_images import NamedImages
from storage.errors import PermafrostError
from trainer import Head

TOLERANCE = 0.01  # of a probability
BATCH_IMAGES = 16
WHOLE = "pixels of whole images"


@dataclass(frozen=True)
class Sample:
    """n images: encoded bytes, what the image policy makes of them (uint8 [n, size, size, 3]), and the cached path's probabilities [n, C].

    Of the first ones, the golden images, `whole` has the pixels of their own size where no decoder chooses a scale, else None.
    """

    names: list[str]
    encoded: list[bytes]
    pixels: npt.NDArray[np.uint8]
    expected: Probabilities
    whole: list[npt.NDArray[np.uint8] | None]


@dataclass(frozen=True)
class Parity:
    """Of one input: the worst difference of a probability, its image, and how many images get another most probable class."""

    input: str
    images: int
    worst: float
    worst_image: str
    other_class: int
    refused: list[str] = field(default_factory=list)  # images that this input does not take

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def take_sample(head: Head, recipe: Recipe, images: NamedImages) -> Sample:
    """The golden images, and those that the user named; what cannot be embedded joins the rejects of `images`."""
    golden = draw_golden_images()
    with tempfile.TemporaryDirectory() as folder:
        for name, encoded in golden.items():
            (Path(folder) / name).write_bytes(encoded)
        names = [f"golden {name}" for name in golden] + images.names
        locations = [str(Path(folder) / name) for name in golden] + images.locations
        pixels, rejects = policy_pixels(locations, kind_of(head), os.cpu_count() or 2)
        expected = np.full((len(names), len(head.classes)), np.nan, np.float32)
        if takes_pixels(head):
            expected[:] = head.predict(pixels)
        else:
            for batch in embed_images(locations, recipe, head.space, f"the head {head.folder}", os.cpu_count() or 2):
                expected[batch.positions] = head.predict(batch.embeddings)
                rejects |= batch.rejects
        images.rejects += [{"image": names[i], "reason": reason, "message": message} for i, (reason, message) in sorted(rejects.items())]
        kept = [i for i in range(len(names)) if i not in rejects]
        encoded_ones = [read_content(locations[i], MAX_FILE_BYTES).encoded for i in kept]
    whole = [_whole(encoded) if i < len(golden) else None for i, encoded in zip(kept, encoded_ones, strict=True)]
    return Sample([names[i] for i in kept], encoded_ones, pixels[kept], expected[kept], whole)


def _whole(encoded: bytes) -> npt.NDArray[np.uint8] | None:
    image = Image.open(io.BytesIO(encoded))
    return np.asarray(image.convert("RGB")) if image.format == "PNG" else None


def measure_parity(form: Format, folder: Path, sample: Sample) -> list[Parity]:
    """Of each input that the written model has. Raises PermafrostError beyond the tolerance."""
    answers = form.load(folder)
    everything = range(len(sample.names))
    found = [_measure(PIXELS, sample, everything, lambda chosen: answers[PIXELS](sample.pixels[chosen]))]
    if form.any_size:
        golden = [i for i, pixels in enumerate(sample.whole) if pixels is not None]
        found.append(_measure(WHOLE, sample, golden, lambda chosen: _one_by_one(answers[PIXELS], [sample.whole[i] for i in chosen])))
    if IMAGE_BYTES in answers:
        taken, refused = _taken(answers[IMAGE_BYTES], sample)
        found.append(
            _measure(IMAGE_BYTES, sample, taken, lambda chosen: answers[IMAGE_BYTES]([sample.encoded[i] for i in chosen]), refused)
        )
    return found


def require_parity(found: Sequence[Parity], to: str) -> None:
    """Raise PermafrostError, naming input and image, unless each probability is within TOLERANCE (so also for NaN)."""
    for parity in found:
        if not parity.worst <= TOLERANCE:
            raise PermafrostError(
                f"the {to} model is not exported: given {parity.input}, its probabilities for {parity.worst_image} differ by "
                f"{parity.worst:.3g} from the cached path's; {TOLERANCE:g} is allowed"
            )


def _measure(
    name: str, sample: Sample, chosen: Sequence[int], answer: Callable[[list[int]], Probabilities], refused: Sequence[str] = ()
) -> Parity:
    """In batches, and the first image alone as well."""
    batches = [list(chosen[start : start + BATCH_IMAGES]) for start in range(0, len(chosen), BATCH_IMAGES)]
    got = np.concatenate([answer(batch) for batch in [list(chosen[:1]), *batches]])
    rows = [*chosen[:1], *chosen]
    differences = np.abs(got - sample.expected[rows]).max(axis=1)
    worst = int(np.argmax(np.nan_to_num(differences, nan=np.inf)))
    other = int((got[1:].argmax(axis=1) != sample.expected[rows[1:]].argmax(axis=1)).sum())
    return Parity(name, len(chosen), float(differences[worst]), sample.names[rows[worst]], other, list(refused))


def _one_by_one(answer: Answer, images: Sequence[Any]) -> Probabilities:
    return np.concatenate([answer(image[None]) for image in images])


def _taken(answer: Answer, sample: Sample) -> tuple[list[int], list[str]]:
    """Positions of the images whose bytes the model takes, and the names of the others."""
    taken, refused = [], []
    for i, encoded in enumerate(sample.encoded):
        try:
            answer([encoded])
            taken.append(i)
        except tf.errors.InvalidArgumentError:
            refused.append(sample.names[i])
    return taken, refused
