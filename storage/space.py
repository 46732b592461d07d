"""The feature space: everything that decides an embedding's value, and the id derived from it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from storage.errors import DamagedError, SpaceMismatchError

PLAIN_VIEWS: tuple[str, ...] = ("plain",)
PIXELS = "pixels"  # in place of graph, weights and layer, in the space of images: nothing is frozen
FIXED_VIEWS = frozenset({"plain", "flip"})  # the same whatever seed and number they have


@dataclass(frozen=True)
class Space:
    """One feature space. Two embeddings may be compared, mixed or fed to one head only if their spaces are equal.

    Engine, device, batch size and worker count are absent on purpose: they may move values only within the tolerance
    (docs/design.md, "Numbers").
    """

    graph: str  # sha256 of the built graph up to the cut, with canonical layer names
    weights: str  # sha256 over the weight tensors of that graph
    layer: str  # canonical name of the cut layer
    pooling: str  # avg | max | none
    input_size: int  # pixels, height = width
    image_policy: str
    preprocessing: str  # caffe | tf | torch | none
    precision: str  # compute precision
    dtype: str  # stored dtype
    views: tuple[str, ...] = PLAIN_VIEWS  # by number; 0 is the plain image
    view_seed: int | None = None  # None: no view is random
    quantization: str | None = None  # engine and calibration digest of an int8 space

    @property
    def plain(self) -> Space:
        """The space of view 0, whatever views there are beside it: what a head reads."""
        return replace(self, views=PLAIN_VIEWS, view_seed=None)

    @property
    def is_pixels(self) -> bool:
        return self.graph == PIXELS

    @property
    def id(self) -> str:
        """Hex sha256 of the canonical JSON (sorted keys, no spaces, ASCII)."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "views": list(self.views)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Space:
        """Parse a description from set.json or head.json; raises DamagedError naming missing or unknown fields."""
        names = {field.name for field in fields(cls)}
        if set(value) != names:
            odd = sorted(names.symmetric_difference(value))
            raise DamagedError(f"a feature space must have exactly the fields {sorted(names)}; missing or unknown: {odd}")
        return cls(**{**value, "views": tuple(value["views"])})


def space_of_pixels(input_size: int, image_policy: str) -> Space:
    """The space of images themselves, uint8 [S, S, 3] by the image policy: what a fine-tuned head reads."""
    return Space(PIXELS, PIXELS, PIXELS, "none", input_size, image_policy, "none", "float32", "uint8")


def differing_fields(a: Space, b: Space) -> list[str]:
    """Names of the fields in which two spaces differ, in declaration order."""
    return [field.name for field in fields(Space) if getattr(a, field.name) != getattr(b, field.name)]


def require_same_space(expected: Space, received: Space, owner: str, newcomer: str, way_out: str) -> None:
    """Raise SpaceMismatchError that names each differing field with both values, unless the spaces are equal."""
    names = differing_fields(expected, received)
    if not names:
        return
    rows = []
    for name in names:
        has, new = _told(getattr(expected, name), getattr(received, name))
        rows.append(f"  {name}: {owner} has {has}, {newcomer} {new}")
    raise SpaceMismatchError(
        f"{owner} and {newcomer} are in different feature spaces; they differ in {', '.join(names)}:\n" + "\n".join(rows) + f"\n{way_out}"
    )


def _told(expected: object, received: object) -> tuple[str, str]:
    """Both values in words; of lists of views only what differs."""
    if isinstance(expected, tuple) and isinstance(received, tuple):
        return _views_told(expected, received), _views_told(received, expected)
    return _short(expected), _short(received)


def _views_told(views: tuple[str, ...], others: tuple[str, ...]) -> str:
    """Such as `4 (2 crop:0.5-1:1-1, 3 flip)`: how many, and by number those that the others have not."""
    own = [f"{number} {view}" for number, view in enumerate(views) if others[number : number + 1] != (view,)]
    return f"{len(views)}" + (f" ({', '.join(own)})" if own else "")


def _short(value: object) -> str:
    """Digests by their beginning: what they are of has no other name."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", str(value))
