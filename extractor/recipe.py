"""Options that decide an embedding, as the user gives them; they are stored with the set and with each head."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from extractor.backbone_table import BACKBONES
from storage.errors import DamagedError, NotFoundError, UsageError
from storage.stated_space import require_rebuildable

POOLINGS = ("avg", "max", "none")
PREPROCESSINGS = ("caffe", "tf", "torch", "none")
DTYPES = ("float16", "float32")
PRECISIONS = ("float32",)
IMAGE_POLICIES = ("image-v1",)
MIN_INPUT_SIZE, MAX_INPUT_SIZE = 32, 2048  # pixels


@dataclass(frozen=True)
class Recipe:
    """How to build the frozen network. `weights` is "imagenet", "random:SEED" or the absolute path of a weights file."""

    name: str
    weights: str = "imagenet"
    pooling: str = "avg"
    input_size: int = 0  # pixels; 0: the backbone's own
    preprocessing: str = ""  # "": the backbone's own
    image_policy: str = "image-v1"
    precision: str = "float32"
    dtype: str = "float16"

    def __post_init__(self) -> None:
        if self.name not in BACKBONES:
            raise UsageError(f"unknown backbone {self.name!r}: expected one of {', '.join(BACKBONES)}")
        entry = BACKBONES[self.name]
        object.__setattr__(self, "input_size", self.input_size or entry.input_size)
        object.__setattr__(self, "preprocessing", self.preprocessing or entry.preprocessing)
        object.__setattr__(self, "weights", check_weights(self.weights))
        _choice("--pooling", self.pooling, POOLINGS)
        _choice("--preprocessing", self.preprocessing, PREPROCESSINGS)
        _choice("--image-policy", self.image_policy, IMAGE_POLICIES)
        _choice("--precision", self.precision, PRECISIONS)
        _choice("--dtype", self.dtype, DTYPES)
        if not MIN_INPUT_SIZE <= self.input_size <= MAX_INPUT_SIZE:
            raise UsageError(f"--input-size must be {MIN_INPUT_SIZE} to {MAX_INPUT_SIZE} pixels, got {self.input_size}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Recipe:
        """Parse a recipe from set.json or head.json. Raises DamagedError for other fields, and what the constructor raises.

        The recipe of imported features, whose network nobody here can build, is a UsageError.
        """
        require_rebuildable(value)
        if unknown := set(value) - {field.name for field in fields(cls)}:
            raise DamagedError(f"a backbone's recipe has unknown fields: {', '.join(sorted(unknown))}")
        return cls(**value)


def check_weights(weights: str) -> str:
    """Return `weights` with a file made absolute. Raises UsageError for a malformed seed, NotFoundError for a missing file."""
    if weights == "imagenet":
        return weights
    if weights.startswith("random:"):
        seed = weights.removeprefix("random:")
        if not re.fullmatch(r"[0-9]{1,10}", seed) or int(seed) >= 2**32:
            raise UsageError(f"--weights {weights!r}: expected random:SEED with a seed from 0 to {2**32 - 1}, such as random:0")
        return f"random:{int(seed)}"
    path = Path(weights).expanduser().absolute()
    if not path.is_file():
        raise NotFoundError(f"--weights {weights}: no such file; expected imagenet, random:SEED or the path of an .h5 weights file")
    if path.suffix not in (".h5", ".hdf5"):
        raise UsageError(f"--weights {weights}: expected a weights file ending in .h5, got {path.suffix or 'no ending'}")
    return str(path)


def _choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{option} must be one of {', '.join(choices)}; got {value!r}")
