"""Random changes of training images that leave their class: mirrored, cut and enlarged, lighter or darker, with more or less contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from storage.asked import check_fields
from storage.errors import UsageError

Tensor = Any
DRAWS = 6  # random numbers an image
NONE = "none"


@dataclass(frozen=True)
class Augmentation:
    """flip: half of the images are mirrored. crop: the least share of each side that a cut keeps (1: no cut), at a random place, enlarged
    to the whole. brightness: the most that is added or taken, as a share of the range; contrast: the most that it grows or shrinks by."""

    flip: bool = True
    crop: float = 0.75
    brightness: float = 0.1
    contrast: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        for name, low, high in (("crop", 0.1, 1.0), ("brightness", 0.0, 0.9), ("contrast", 0.0, 0.9)):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"augmentation: {name} must be from {low:g} to {high:g}, got {getattr(self, name)!r}")

    @classmethod
    def parse(cls, text: str) -> Augmentation:
        """Such as `flip,crop=0.8,contrast=0.2`: what is not named is off; `none`: nothing. Raises UsageError."""
        found: dict[str, Any] = {"flip": False, "crop": 1.0, "brightness": 0.0, "contrast": 0.0}
        for part in filter(None, text.split(",") if text != NONE else ()):
            name, _, value = part.partition("=")
            try:
                found[name] = (
                    True if (name, value) == ("flip", "") else {"crop": float, "brightness": float, "contrast": float}[name](value)
                )
            except (KeyError, ValueError):
                raise UsageError(
                    f"--augment takes flip, crop=SHARE, brightness=SHARE and contrast=SHARE with commas between, or none; got {part!r}"
                ) from None
        return cls(**found)

    def __call__(self, image: Tensor, seed: Tensor) -> Tensor:
        """uint8 [S, S, 3] and a seed int64 [2], which alone decides, to uint8 [S, S, 3]."""
        draws = tf.random.stateless_uniform([DRAWS], seed)
        x = self._cut(tf.cast(image, tf.float32), draws) if self.crop < 1 else tf.cast(image, tf.float32)
        if self.flip:
            x = tf.where(draws[3] < 0.5, x[:, ::-1], x)
        if self.contrast:
            mean = tf.reduce_mean(x, axis=(0, 1))
            x = mean + (x - mean) * (1 + self.contrast * (2 * draws[4] - 1))
        if self.brightness:
            x += 255 * self.brightness * (2 * draws[5] - 1)
        return tf.cast(tf.clip_by_value(tf.round(x), 0, 255), tf.uint8)

    def _cut(self, x: Tensor, draws: Tensor) -> Tensor:
        side = self.crop + (1 - self.crop) * draws[0]
        top, left = (1 - side) * draws[1], (1 - side) * draws[2]
        box = tf.stack([top, left, top + side, left + side])
        return tf.image.crop_and_resize(x[None], box[None], [0], tf.shape(x)[:2])[0]
