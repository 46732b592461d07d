"""Feature spaces that somebody states: of embeddings that this program did not compute, and a network that it cannot build."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from storage.errors import DamagedError, UsageError
from storage.files import read_json
from storage.shard_layout import STORED_DTYPES
from storage.space import PLAIN_VIEWS, Space

STATED = "stated"  # name of a backbone that is only a statement; in provenance, a space that the file itself did not tell
_SPACE_FIELDS = {field.name for field in fields(Space)}
_TEXT_FIELDS = ("weights", "layer", "pooling", "image_policy", "preprocessing", "precision")


def read_space(path: Path, dtype: str) -> tuple[Space, dict[str, Any]]:
    """(space, backbone) from a JSON file: exactly the fields of `Space`, or a free statement of where the embeddings come from.

    dtype: of the stored embeddings, for a statement. Raises NotFoundError, UsageError.
    """
    try:
        value = read_json(path, "statement of a space")
    except DamagedError as error:
        raise UsageError(str(error)) from None
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise UsageError(f"{path}: NaN and Infinity are not JSON; say it in words") from None
    if set(value) != _SPACE_FIELDS:
        return state_space(value, dtype), {"name": STATED, "statement": value}
    try:
        space = Space.from_dict(value)
    except TypeError as error:
        raise UsageError(f"{path}: not a feature space ({error})") from None
    if space.plain != space:
        raise UsageError(f"{path}: a file has one embedding a row, so the views of its space are {list(PLAIN_VIEWS)}, with no seed")
    if space.dtype not in STORED_DTYPES:
        raise UsageError(f"{path}: the dtype of a space must be one of {', '.join(STORED_DTYPES)}, got {space.dtype!r}")
    return space, {"name": STATED, "statement": {}}


def state_space(statement: Mapping[str, Any], dtype: str) -> Space:
    """The space of a free statement such as {"model": ..., "weights": ..., "preprocessing": ...}; equal statements give equal spaces.

    Fields of `Space` are digested one by one, so that an error can name them, the rest together as the graph. A digest of a statement
    begins with `stated:`, which no digest of a built graph does: the two never meet.
    """
    if not statement:
        raise UsageError("the statement of a space is empty: say what made the embeddings, such as the model, weights and preprocessing")
    rest = {name: value for name, value in statement.items() if name not in _TEXT_FIELDS}
    stated: dict[str, Any] = {name: _digest(statement[name]) if name in statement else "unstated" for name in _TEXT_FIELDS}
    return Space(graph=_digest(rest), input_size=0, dtype=dtype, **stated)


def require_rebuildable(backbone: Mapping[str, Any]) -> None:
    """Raise UsageError if a backbone is only a statement, from which no network can be built."""
    if backbone.get("name") != STATED:
        return
    told = ", ".join(f"{name} {value}" for name, value in backbone.get("statement", {}).items()) or "nothing more is known of it"
    raise UsageError(
        f"these features were imported, and their network is only stated ({told}): permafrost cannot build it, so it cannot embed new "
        "images in their space. Embed them where the features were made, or extract a set of your own and train on that"
    )


def _digest(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"{STATED}:{hashlib.sha256(canonical.encode()).hexdigest()}"
