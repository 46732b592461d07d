"""The views of an image: how they are written, and where each of them is cut. Pure; imports no TensorFlow.

View 0 is the plain image; the others are mirrored left to right, randomly cropped, or both. A crop is torchvision's RandomResizedCrop
(Inception's, Szegedy et al., arXiv 1409.4842): area and aspect ratio are drawn from their ranges, ten times at most, then the place;
if no draw fits into the image, it is the largest crop in the middle whose ratio is allowed. The draws are those of sha256 over seed,
number of the view and content digest: they depend on no library, decoder, batch or worker.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from storage.errors import UsageError

# From a third of the area on, and in these ratios, a crop of the decode that view 0 is made from (twice the input size or more) has at
# least the input's pixels in both directions, so that each image is decoded once.
DEFAULT_AREA, DEFAULT_RATIO = "0.35-1", "0.75-1.33333"
AREA_LIMITS, RATIO_LIMITS = (0.01, 1.0), (0.1, 10.0)
MAX_VIEWS = 64  # of an image, beside the plain one: they are in memory together
ATTEMPTS = 10  # draws of area and ratio
GRAMMAR = "flip, crop or flip-crop; a crop may go on with its ranges of area and ratio, such as crop:0.5-1 or crop:0.35-1:0.75-1.33333"

Box = tuple[int, int, int, int]  # left, top, right (exclusive), bottom (exclusive)


@dataclass(frozen=True)
class Crop:
    """Ranges (lowest, highest) of the share of the image's area, and of width / height in pixels of the upright image."""

    area: tuple[float, float]
    ratio: tuple[float, float]


@dataclass(frozen=True)
class View:
    """`flip`: mirrored left to right. crop None: the whole image."""

    flip: bool
    crop: Crop | None

    def __str__(self) -> str:
        """As it stands in the feature space: with all its numbers."""
        if self.crop is None:
            return "flip"
        numbers = (f"{low:g}-{high:g}" for low, high in (self.crop.area, self.crop.ratio))
        return ":".join(("flip-crop" if self.flip else "crop", *numbers))


@dataclass(frozen=True)
class ViewPolicy:
    """The views of an image beside the plain one, and the seed of their crops."""

    views: tuple[View, ...] = ()
    seed: int = 0

    @property
    def count(self) -> int:
        """Views of an image, the plain one among them."""
        return 1 + len(self.views)

    @property
    def crops(self) -> int:
        return sum(view.crop is not None for view in self.views)

    @property
    def is_random(self) -> bool:
        return self.crops > 0

    def in_order(self, plain: Any, crops: Sequence[Any]) -> list[Any]:
        """Images of all views by number, from the plain image and the crops; arrays or tensors [size, size, 3]."""
        cut = iter(crops)
        images = [plain]
        for view in self.views:
            image = next(cut) if view.crop else plain
            images.append(image[:, ::-1] if view.flip else image)
        return images


PLAIN = ViewPolicy()


@dataclass(frozen=True)
class Frame:
    """An image as it is stored: pixels across and down at full size, and its EXIF orientation (1 to 8)."""

    width: int
    height: int
    orientation: int = 1


@dataclass(frozen=True)
class Cuts:
    """Where the crops of one image are: boxes in the pixels of its decode at the DCT scale 1 / 2^dct, before it is turned upright."""

    dct: int = 0
    boxes: tuple[Box, ...] = ()


NO_CUTS = Cuts()


def parse_view(text: str) -> View:
    """Raises UsageError for what is no view."""
    kind, *ranges = text.split(":")
    if kind == "flip" and not ranges:
        return View(True, None)
    if kind not in ("crop", "flip-crop") or len(ranges) > 2:
        hint = "; the plain image is always there, as view 0" if text == "plain" else ""
        raise UsageError(f"--views: expected {GRAMMAR}; got {text!r}{hint}")
    area, ratio = (*ranges, *(DEFAULT_AREA, DEFAULT_RATIO)[len(ranges) :])
    return View(kind == "flip-crop", Crop(_range(area, "area", AREA_LIMITS, text), _range(ratio, "ratio", RATIO_LIMITS, text)))


def _range(text: str, what: str, limits: tuple[float, float], view: str) -> tuple[float, float]:
    try:
        low, high = (float(f"{float(part):g}") for part in text.split("-"))
    except ValueError:
        low, high = math.nan, math.nan
    if not limits[0] <= low <= high <= limits[1]:
        raise UsageError(f"--views {view}: expected a range of the {what} within {limits[0]:g}-{limits[1]:g}, got {text!r}")
    return low, high


def check_views(views: Sequence[View], seed: int) -> None:
    """Raise UsageError for views that would be stored in vain, too many of them, or a seed of nothing."""
    if len(views) > MAX_VIEWS:
        raise UsageError(f"--views must be at most {MAX_VIEWS}, got {len(views)}")
    if sum(view.crop is None for view in views) > 1:
        raise UsageError("--views names flip twice, which is the same image: name it once, and crops or flip-crops as often as you like")
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise UsageError(f"--view-seed must be from 0 to {2**31 - 1}, got {seed!r}")
    if seed and not ViewPolicy(tuple(views)).is_random:
        raise UsageError("--view-seed is the seed of crops, and --views names none: leave it out")


def plan_cuts(policy: ViewPolicy, digest: bytes, frame: Frame, size: int, dct: int) -> Cuts:
    """The crops of an image for an input of `size` pixels.

    dct: scale exponent of the decode that the plain view is made from. The crops are cut from it too if each of them has at least
    `size` pixels both ways in it, else from the next larger one in which they have: no crop is enlarged where the file has the pixels.
    """
    upright = (frame.height, frame.width) if frame.orientation >= 5 else (frame.width, frame.height)
    boxes = [
        _as_stored(random_crop(view.crop, policy.seed, number, digest, *upright), frame)
        for number, view in enumerate(policy.views, 1)
        if view.crop
    ]
    for exponent in range(dct, 0, -1):
        scaled = tuple(_at_scale(box, frame, exponent) for box in boxes)
        if all(min(right - left, bottom - top) >= size for left, top, right, bottom in scaled):
            return Cuts(exponent, scaled)
    return Cuts(0, tuple(boxes))


def random_crop(crop: Crop, seed: int, number: int, digest: bytes, width: int, height: int) -> Box:
    """The box of view `number` in the upright image of width x height pixels."""
    for area_draw, ratio_draw, x_draw, y_draw in _draws(seed, number, digest):
        area = width * height * _between(*crop.area, area_draw)
        ratio = math.exp(_between(math.log(crop.ratio[0]), math.log(crop.ratio[1]), ratio_draw))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            left, top = int(x_draw * (width - across + 1)), int(y_draw * (height - down + 1))
            return left, top, left + across, top + down
    return _in_the_middle(crop, width, height)


def _draws(seed: int, number: int, digest: bytes) -> Iterator[tuple[float, ...]]:
    """Four numbers from 0 to below 1 for each attempt: the first 53 bits of each quarter of a sha256."""
    for attempt in range(ATTEMPTS):
        drawn = hashlib.sha256(f"{seed} {number} {attempt} ".encode() + digest).digest()
        yield tuple((int.from_bytes(drawn[start : start + 8], "big") >> 11) / 2**53 for start in range(0, 32, 8))


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def _in_the_middle(crop: Crop, width: int, height: int) -> Box:
    low, high = crop.ratio
    across = min(width, max(1, round(height * high)))
    down = min(height, max(1, round(width / low)))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def _as_stored(box: Box, frame: Frame) -> Box:
    """A box of the upright image in the pixels of the stored one."""
    left, top, right, bottom = box
    if frame.orientation >= 5:
        left, top, right, bottom = top, left, bottom, right
    if frame.orientation in (2, 3, 7, 8):
        left, right = frame.width - right, frame.width - left
    if frame.orientation in (3, 4, 6, 7):
        top, bottom = frame.height - bottom, frame.height - top
    return left, top, right, bottom


def _at_scale(box: Box, frame: Frame, exponent: int) -> Box:
    """The box in a decode at 1 / 2^exponent, which has its sides rounded up (libjpeg's jpeg_calc_output_dimensions)."""
    left, top, right, bottom = box
    width, height = (-(-side // 2**exponent) for side in (frame.width, frame.height))
    return (
        round(left * width / frame.width),
        round(top * height / frame.height),
        round(right * width / frame.width),
        round(bottom * height / frame.height),
    )
