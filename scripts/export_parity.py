"""The parity test of an export: what a written model answers in its serving library, against what the cached path says."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image

from extractor.golden_images import draw_golden_images
from extractor.image_model import PIXELS
from extractor.image_policy_table import IMAGE_POLICIES
from extractor.input_kind import InputKind
from extractor.jpeg_in_graph import resize
from scripts.export_formats import DECODE, IMAGE_BYTES, Answer, Format, Probabilities
from scripts.export_sample import Sample
from storage.errors import PermafrostError

BATCH_IMAGES = 16
ANY_SIZE = "pixels of any size"
# By how much a probability may differ, as a share of the range that it has over the images. MobileNetV2 at 224 pixels with a linear head
# of 10 classes on 538 images: 0.00013, which is the float16 of the cached features.
TOLERANCE = 0.005
LEAST_ALLOWED = 1e-5  # of heads that say the same of all images: float32
# The decoders of the image policy may differ by one grey level (`extractor.image_policy`). That made 0.0031 there, and 0.024 in a random
# network at 32 pixels.
TOLERANCE_OF_GREY_LEVEL = 0.1


@dataclass(frozen=True)
class Parity:
    """Of one input: the worst difference of a probability, its image, how much is allowed, and how many images get another most probable
    class. `grey_levels`: by how many the decoded pixels differ from the image policy's, where the model decodes."""

    input: str
    images: int
    worst: float
    worst_image: str
    allowed: float
    other_class: int
    grey_levels: int | None = None
    refused: list[str] = field(default_factory=list)  # images that this input does not take

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure_parity(form: Format, folder: Path, sample: Sample, kind: InputKind) -> list[Parity]:
    """Of each input that the model in the folder has."""
    answers = form.load(folder)
    got = np.concatenate([answers[PIXELS](sample.pixels[batch]) for batch in _batches(len(sample.names))])
    found = [_measure(PIXELS, sample.names, sample.expected, got)]
    if form.any_size:
        found.append(_of_any_size(answers[PIXELS], kind))
    if IMAGE_BYTES in answers:
        found.append(_of_bytes(answers, sample))
    return found


def require_parity(found: Sequence[Parity], to: str) -> None:
    """Raise PermafrostError, naming input and image, unless each probability is near enough (so also for NaN)."""
    for parity in found:
        if not parity.worst <= parity.allowed:
            raise PermafrostError(
                f"the {to} model is not exported: given {parity.input}, its probabilities for {parity.worst_image} differ by "
                f"{parity.worst:.3g} from what `permafrost predict` says; {parity.allowed:.3g} is allowed"
            )
        if parity.grey_levels is not None and parity.grey_levels > 1:
            raise PermafrostError(f"the {to} model is not exported: it decodes an image {parity.grey_levels} grey levels off; 1 is allowed")


def _of_any_size(answer: Answer, kind: InputKind) -> Parity:
    """Golden images in their own size, against the same that the image policy has resized (of its decoders, TensorFlow's)."""
    opened = {name: Image.open(io.BytesIO(encoded)) for name, encoded in draw_golden_images().items()}
    images = [np.asarray(image.convert("RGB")) for image in opened.values()]
    resized = [resize(image, kind.size, IMAGE_POLICIES[kind.policy].antialias).numpy() for image in images]
    given = np.concatenate([answer(image[None]) for image in images])
    return _measure(ANY_SIZE, [f"golden {name}" for name in opened], answer(np.stack(resized)), given)


def _of_bytes(answers: Mapping[str, Answer], sample: Sample) -> Parity:
    pixels: dict[int, npt.NDArray[np.uint8]] = {}
    for batch in _batches(len(sample.names)):
        pixels |= _accepted(answers[DECODE], sample, batch)
    taken = list(pixels)
    batches = [[taken[i] for i in batch] for batch in _batches(len(taken))]
    got = np.concatenate([answers[IMAGE_BYTES]([sample.encoded[i] for i in batch]) for batch in batches])
    levels = int(np.abs(np.stack(list(pixels.values())).astype(np.int16) - sample.pixels[taken]).max())
    found = _measure(IMAGE_BYTES, [sample.names[i] for i in taken], sample.expected[taken], got, TOLERANCE_OF_GREY_LEVEL)
    return replace(found, grey_levels=levels, refused=[name for i, name in enumerate(sample.names) if i not in pixels])


def _accepted(answer: Answer, sample: Sample, batch: list[int]) -> dict[int, npt.NDArray[Any]]:
    """Answers by position; without images that the model refuses, for which it refuses the batch."""
    try:
        return dict(zip(batch, answer([sample.encoded[i] for i in batch]), strict=True))
    except tf.errors.InvalidArgumentError:
        alone = [_accepted(answer, sample, [i]) for i in batch] if len(batch) > 1 else []
        return {i: row for accepted in alone for i, row in accepted.items()}


def _batches(images: int) -> list[list[int]]:
    """The first image alone, the others together: all formats take any number."""
    starts = [0, *range(1, images, BATCH_IMAGES)]
    return [list(range(start, end)) for start, end in zip(starts, [*starts[1:], images], strict=True)]


def _measure(name: str, images: Sequence[str], expected: Probabilities, got: Probabilities, tolerance: float = TOLERANCE) -> Parity:
    differences = np.abs(got - expected).max(axis=1)
    worst = int(np.argmax(np.nan_to_num(differences, nan=np.inf)))
    other = int((got.argmax(axis=1) != expected.argmax(axis=1)).sum())
    allowed = max(LEAST_ALLOWED, tolerance * float(np.ptp(expected, axis=0).max()))
    return Parity(name, len(images), float(differences[worst]), images[worst], allowed, other)
