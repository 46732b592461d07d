"""Options that decide an embedding, as the user gives them; they are stored with the set and with each head."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from extractor.backbone_args import Value, check_args
from extractor.backbone_source import HUB, check_backbone, check_weights
from extractor.backbone_table import BACKBONES
from extractor.image_policy_table import IMAGE_POLICIES
from extractor.views import ViewPolicy, check_views, parse_view
from storage.asked import as_asked, check_fields
from storage.errors import DamagedError, UsageError
from storage.stated_space import require_rebuildable

POOLINGS = ("avg", "max", "none")
PREPROCESSINGS = ("caffe", "tf", "torch", "none")
DTYPES = ("float16", "float32")
PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "int8")  # tf32: float32 whose products a GPU may round
MIN_INPUT_SIZE, MAX_INPUT_SIZE = 32, 2048  # pixels


@dataclass(frozen=True)
class Recipe:
    """How to build the frozen network.

    `name` is a name of BACKBONES, the absolute path of a `.keras` model file, or "hub:PRESET". `weights` is "imagenet",
    "random:SEED" or the absolute path of a weights file; "own" for model files and presets, which bring theirs.
    """

    name: str
    weights: str = ""  # "": imagenet, or own
    pooling: str = "avg"
    input_size: int = 0  # pixels; 0: the backbone's own
    preprocessing: str = ""  # "": the backbone's own
    image_policy: str = "image-v1"
    precision: str = "float32"
    dtype: str = "float16"
    args: tuple[tuple[str, Value], ...] = ()  # of the builder, sorted by name; a mapping is accepted too
    layer: str = ""  # the cut; "": the last layer before the classification top
    views: tuple[str, ...] = ()  # beside the plain image, as extractor.views writes them; text such as "flip,crop" is accepted too
    view_seed: int = 0  # of the crops among them

    def __post_init__(self) -> None:
        check_fields(self, but=("args", "views"))
        args = as_asked(self.args, Mapping[str, Any] | tuple[tuple[str, Any], ...], "args")
        asked_views = as_asked(self.views, str | tuple[str, ...], "views")
        object.__setattr__(self, "name", check_backbone(self.name))
        object.__setattr__(self, "args", check_args(self.name, dict(args)))
        object.__setattr__(self, "weights", check_weights(self.name, self.weights))
        views = [parse_view(text) for text in (asked_views.split(",") if isinstance(asked_views, str) else asked_views)]
        check_views(views, self.view_seed)
        object.__setattr__(self, "views", tuple(map(str, views)))
        if self.name in BACKBONES:
            entry = BACKBONES[self.name]
            object.__setattr__(self, "input_size", self.input_size or entry.input_size)
            object.__setattr__(self, "preprocessing", self.preprocessing or self._own_preprocessing())
        _choice("--pooling", self.pooling, POOLINGS)
        _choice("--image-policy", self.image_policy, IMAGE_POLICIES)
        _choice("--precision", self.precision, PRECISIONS)
        _choice("--dtype", self.dtype, DTYPES)
        if self.preprocessing or not self.name.startswith(HUB):
            _choice("--preprocessing", self.preprocessing, PREPROCESSINGS)
        if self.input_size or self.name in BACKBONES:
            check_input_size(self.input_size)

    @property
    def view_policy(self) -> ViewPolicy:
        return ViewPolicy(tuple(map(parse_view, self.views)), self.view_seed)

    def _own_preprocessing(self) -> str:
        if dict(self.args).get("include_preprocessing", True):
            return BACKBONES[self.name].preprocessing
        raise UsageError("--backbone-arg include_preprocessing=false leaves the pixels as they are: state --preprocessing")

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "args": dict(self.args), "views": list(self.views)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Recipe:
        """Parse a recipe from set.json or head.json. Raises DamagedError for other fields, and what the constructor raises.

        The recipe of imported features, whose network nobody here can build, is a UsageError.
        """
        require_rebuildable(value)
        if unknown := set(value) - {field.name for field in fields(cls)}:
            raise DamagedError(f"a backbone's recipe has unknown fields: {', '.join(sorted(unknown))}")
        return cls(**value)


def check_input_size(size: int) -> None:
    """Raises UsageError outside of MIN_INPUT_SIZE to MAX_INPUT_SIZE."""
    if not MIN_INPUT_SIZE <= size <= MAX_INPUT_SIZE:
        raise UsageError(f"--input-size must be {MIN_INPUT_SIZE} to {MAX_INPUT_SIZE} pixels, got {size}")


def _choice(option: str, value: str, choices: Collection[str]) -> None:
    if not value:
        raise UsageError(f"state {option} ({', '.join(choices)}): a model file does not say how its pixels are scaled")
    if value not in choices:
        raise UsageError(f"{option} must be one of {', '.join(choices)}; got {value!r}")
