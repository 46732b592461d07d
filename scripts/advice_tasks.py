"""The grid of small tasks that the adviser is measured on: subsets and relabellings of the clothing photographs.

Most are 96 pixels wide, which two cores can train on, and at which networks of 224 give weak features; some have the full 224.

Each task is a folder of images, a backbone, and a label file with splits; the labels of test are clean, whatever those of train are.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

SMALL, FULL = 96, 224  # pixels
PER_CLASS = 60  # images to learn from, where the task does not say otherwise; all others test
NOISE = 0.2
TOPS = ("dress", "longsleeve", "outwear", "shirt", "t-shirt")
BLURS = (0.0, 0.7, 1.4)  # pixels, of a Gaussian

Pixels = npt.NDArray[np.uint8]
Labels = dict[str, str]


@dataclass(frozen=True)
class Task:
    """relabel: (class by key, pixels by key, random numbers) to label by key; keys without one are left out. noise: of the labels of
    train. corpus: the folder of images."""

    name: str
    relabel: Callable[[Labels, Mapping[str, Pixels], np.random.Generator], Labels]
    corpus: str = "plain"
    backbone: str = "mobilenet-75"
    per_class: int = PER_CLASS  # of the ten classes of clothes, so that all tasks learn from the same images
    noise: float = 0.0
    flips: bool = True  # an image and its mirror image have one label

    @property
    def size(self) -> int:
        return FULL if self.corpus == "full" else SMALL


def _kinds(kinds: Labels, pixels: Mapping[str, Pixels], random: np.random.Generator) -> Labels:
    return kinds


def _only(*names: str) -> Callable[..., Labels]:
    return lambda kinds, pixels, random: {key: kind for key, kind in kinds.items() if kind in names}


def _tops(kinds: Labels, pixels: Mapping[str, Pixels], random: np.random.Generator) -> Labels:
    return {key: "top" if kind in TOPS else "other" for key, kind in kinds.items()}


def _random(kinds: Labels, pixels: Mapping[str, Pixels], random: np.random.Generator) -> Labels:
    return {key: f"random {random.integers(5)}" for key in kinds}


def _by_rank(measure: Callable[[Pixels], float], parts: int) -> Callable[..., Labels]:
    def relabel(kinds: Labels, pixels: Mapping[str, Pixels], random: np.random.Generator) -> Labels:
        values = {key: measure(pixels[key]) for key in kinds}
        ranks = {key: rank for rank, key in enumerate(sorted(values, key=lambda key: (values[key], key)))}
        return {key: f"part {rank * parts // len(ranks)}" for key, rank in ranks.items()}

    return relabel


def _brightness(image: Pixels) -> float:
    return float(image.mean())


def _warmth(image: Pixels) -> float:
    """Red minus blue."""
    return float(image[..., 0].mean() - image[..., 2].mean())


def _in_name(kinds: Labels, pixels: Mapping[str, Pixels], random: np.random.Generator) -> Labels:
    """What was done to the image stands at the end of its name."""
    return {key: Path(key).stem.rpartition("_")[2] for key in kinds}


TASKS = (
    Task("clothing-10", _kinds),
    Task("clothing-10, 5 a class", _kinds, per_class=5),
    Task("clothing-10, 20 a class", _kinds, per_class=20),
    Task("tops or not", _tops),
    Task("longsleeve or t-shirt", _only("longsleeve", "t-shirt")),
    Task("shirts of three kinds", _only("longsleeve", "shirt", "t-shirt")),
    Task("pants or shoes", _only("pants", "shoes")),
    Task("hat, pants or shoes, 5 a class", _only("hat", "pants", "shoes"), per_class=5),
    Task("random labels", _random),
    Task("clothing-10, 20% wrong", _kinds, noise=NOISE),
    Task("brightness in 3 parts", _by_rank(_brightness, 3)),
    Task("red or blue in 4 parts", _by_rank(_warmth, 4)),
    Task("rotation by 0, 90, 180, 270", _in_name, corpus="rotated", flips=False),
    Task("blur of 3 strengths", _in_name, corpus="blurred"),
    Task("clothing-10, SqueezeNet", _kinds, backbone="squeezenet"),
    Task("clothing-10, MobileNetV2 0.35", _kinds, backbone="mobilenet-v2-35"),
    Task("clothing-10, 224 pixels", _kinds, corpus="full"),
    Task("clothing-10, 224 pixels, 5 a class", _kinds, corpus="full", per_class=5),
    Task("tops or not, 224 pixels", _tops, corpus="full"),
)


def write_corpora(clothing: Path, folder: Path) -> None:
    """The photographs of `clothing` (class folders) as PNG files below `folder`: full, and small ones plain, turned, blurred."""
    random = np.random.default_rng(0)
    for path in sorted(clothing.glob("*/*.jpg")):
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        full, small = (photo.resize((size, size), Image.Resampling.BILINEAR) for size in (FULL, SMALL))
        quarter, blur = int(random.integers(4)), int(random.integers(len(BLURS)))
        turned = small.rotate(90 * quarter)
        blurred = small.filter(ImageFilter.GaussianBlur(BLURS[blur])) if BLURS[blur] else small
        made = (("full", full, ""), ("plain", small, ""), ("rotated", turned, f"_{90 * quarter}"), ("blurred", blurred, f"_{blur}"))
        for corpus, image, end in made:
            out = folder / corpus / path.parent.name / f"{path.stem}{end}.png"
            out.parent.mkdir(parents=True, exist_ok=True)
            image.save(out)


def read_pixels(corpus: Path) -> dict[str, Pixels]:
    """uint8 [size, size, 3] of each image, by its key in the feature set: the path below the corpus."""
    return {str(path.relative_to(corpus)): np.asarray(Image.open(path)) for path in sorted(corpus.glob("*/*.png"))}


def write_labels(task: Task, pixels: Mapping[str, Pixels], path: Path, most: int | None = None) -> dict[str, Any]:
    """The task's label file: key, label, split. Returns its counts. most: training images a class at most, for a short run."""
    random = np.random.default_rng(1)
    kinds = {key: Path(key).parent.name for key in pixels}
    labels = task.relabel(kinds, pixels, random)
    keys = [sorted(labels)[i] for i in random.permutation(len(labels))]
    seen: dict[str, int] = {}
    train = set()
    for key in keys:
        seen[kinds[key]] = seen.get(kinds[key], 0) + 1
        if seen[kinds[key]] <= min(task.per_class, most or task.per_class):
            train.add(key)
    names = sorted(set(labels.values()))
    wrong = {key for key in sorted(train) if random.random() < task.noise}
    told = {key: str(random.choice([n for n in names if n != label])) if key in wrong else label for key, label in labels.items()}
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = ((key, told[key], "train" if key in train else "test") for key in sorted(labels))
        csv.writer(file).writerows([("key", "label", "split"), *rows])
    return {"classes": len(names), "train": len(train), "test": len(labels) - len(train), "wrong": len(wrong)}
