"""The parity test of an export: what a written model answers in its serving library, against what the cached path says."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from extractor.golden_images import draw_golden_images
from extractor.image_model import PIXELS
from extractor.image_policy_table import IMAGE_POLICIES
from extractor.input_kind import InputKind
from extractor.jpeg_in_graph import resize
from scripts.export_formats import IMAGE_BYTES, Answer, Format, Probabilities
from scripts.export_sample import Sample
from storage.errors import PermafrostError

BATCH_IMAGES = 16
ANY_SIZE = "pixels of any size"
# Of a probability. MobileNetV2 at 224 pixels with a linear head of 10 classes on 538 images: 0.00013 for pixels, which is the float16 of
# the cached features. The decoders of the image policy may differ by one grey level (`extractor.image_policy`), which made 0.0045.
TOLERANCES = {PIXELS: 0.005, ANY_SIZE: 0.005, IMAGE_BYTES: 0.02}


@dataclass(frozen=True)
class Parity:
    """Of one input: the worst difference of a probability, its image, and how many images get another most probable class."""

    input: str
    images: int
    worst: float
    worst_image: str
    other_class: int
    refused: list[str] = field(default_factory=list)  # images that this input does not take

    @property
    def tolerance(self) -> float:
        return TOLERANCES[self.input]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "tolerance": self.tolerance}


def measure_parity(form: Format, folder: Path, sample: Sample, kind: InputKind) -> list[Parity]:
    """Of each input that the model in the folder has."""
    answers = form.load(folder)
    everything = list(range(len(sample.names)))
    found = [_measure(PIXELS, sample.names, sample.expected, _in_batches(lambda at: answers[PIXELS](sample.pixels[at]), everything))]
    if form.any_size:
        found.append(_of_any_size(answers[PIXELS], kind))
    if IMAGE_BYTES in answers:
        found.append(_of_bytes(answers[IMAGE_BYTES], sample))
    return found


def require_parity(found: Sequence[Parity], to: str) -> None:
    """Raise PermafrostError, naming input and image, unless each probability is within its tolerance (so also for NaN)."""
    for parity in found:
        if not parity.worst <= parity.tolerance:
            raise PermafrostError(
                f"the {to} model is not exported: given {parity.input}, its probabilities for {parity.worst_image} differ by "
                f"{parity.worst:.3g} from what `permafrost predict` says; {parity.tolerance:g} is allowed"
            )


def _of_any_size(answer: Answer, kind: InputKind) -> Parity:
    """Golden images in their own size, against the same that the image policy has resized (of its decoders, TensorFlow's)."""
    opened = {name: Image.open(io.BytesIO(encoded)) for name, encoded in draw_golden_images().items()}
    images = [np.asarray(image.convert("RGB")) for image in opened.values()]
    resized = [resize(image, kind.size, IMAGE_POLICIES[kind.policy].antialias).numpy() for image in images]
    given = np.concatenate([answer(image[None]) for image in images])
    return _measure(ANY_SIZE, [f"golden {name}" for name in opened], answer(np.stack(resized)), given)


def _of_bytes(answer: Answer, sample: Sample) -> Parity:
    taken, refused = [], []
    for i, encoded in enumerate(sample.encoded):
        try:
            answer([encoded])
            taken.append(i)
        except tf.errors.InvalidArgumentError:
            refused.append(sample.names[i])
    got = _in_batches(lambda at: answer([sample.encoded[i] for i in at]), taken)
    return _measure(IMAGE_BYTES, [sample.names[i] for i in taken], sample.expected[taken], got, refused)


def _in_batches(answer: Callable[[list[int]], Probabilities], positions: Sequence[int]) -> Probabilities:
    """The first image alone, the others in batches: all formats take any number."""
    starts = [0, *range(1, len(positions), BATCH_IMAGES)]
    return np.concatenate([answer(list(positions[start:end])) for start, end in zip(starts, [*starts[1:], len(positions)], strict=True)])


def _measure(name: str, images: Sequence[str], expected: Probabilities, got: Probabilities, refused: Sequence[str] = ()) -> Parity:
    differences = np.abs(got - expected).max(axis=1)
    worst = int(np.argmax(np.nan_to_num(differences, nan=np.inf)))
    other = int((got.argmax(axis=1) != expected.argmax(axis=1)).sum())
    return Parity(name, len(images), float(differences[worst]), images[worst], other, list(refused))
