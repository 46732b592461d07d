"""What a program asks a set for, checked before anything is read: a mistake in it must not look like a damaged file.

All functions raise UsageError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import UsageError


def require_several(values: Iterable[Any], what: str) -> None:
    """One text is a sequence of letters, too, and never meant as one."""
    if isinstance(values, (str, bytes)):
        raise UsageError(f"expected several {what}, got one text, {values!r}: put it into a list")


def keys_of(keys: Iterable[str]) -> list[str]:
    require_several(keys, "keys")
    asked = list(keys)
    for key in asked:
        if not isinstance(key, str):
            raise UsageError(f"keys are texts; got {key!r}")
    return asked


def texts_by_key(texts: Mapping[str, str | None] | None, what: str) -> Mapping[str, str | None]:
    """New labels or splits; none for None."""
    if texts is None:
        return {}
    if not isinstance(texts, Mapping):
        raise UsageError(f"expected {what} as a dict of a text (or None) by key; got {type(texts).__name__}")
    keys_of(texts)
    for key, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise UsageError(f"{what} are texts, or None to take one away; got {text!r} for {key!r}")
    return texts


def positions_of(positions: Sequence[int] | npt.NDArray[np.int64], rows: int, of: str) -> npt.NDArray[np.int64]:
    """As an array [n]. rows: how many items there are. of: what has them, for messages."""
    try:
        found = np.asarray(positions)
    except ValueError:
        raise UsageError("expected positions as one row of whole numbers, got rows of different lengths") from None
    if found.dtype == bool:
        raise UsageError("expected positions, got truth values: np.flatnonzero(mask) gives the positions of a mask")
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):  # no positions at all are floats to NumPy
        raise UsageError(f"expected positions as one row of whole numbers, got shape {list(found.shape)} of {found.dtype}")
    if outside := found[(found < 0) | (found >= rows)].tolist():
        raise UsageError(f"positions must be from 0 to {rows - 1} in {of}, got {outside[0]}; -1 stands for what is not there")
    return found.astype(np.int64, copy=False)


def require_whole(number: object, what: str, least: int) -> None:
    if not _is_whole(number) or number < least:  # type: ignore[operator]
        raise UsageError(f"{what} must be a whole number, at least {least}; got {number!r}")


def require_range(start: int, stop: int, rows: int, of: str) -> None:
    if not (_is_whole(start) and _is_whole(stop)):
        raise UsageError(f"rows are counted in whole numbers, got {start!r}:{stop!r}")
    if not 0 <= start <= stop <= rows:
        raise UsageError(f"rows {start}:{stop} are outside 0:{rows} of {of}")


def require_view(view: int | None, views: Sequence[str], of: str) -> None:
    """view: the number of one; None for all."""
    if view is not None and not (_is_whole(view) and 0 <= view < len(views)):
        known = ", ".join(f"{number} {name}" for number, name in enumerate(views))
        raise UsageError(f"{of} has no view {view!r}; it has {known}")


def _is_whole(number: object) -> bool:
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool)
