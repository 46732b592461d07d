"""What a program asks a set for, checked before anything is read: a mistake in it must not look like a damaged file.

All functions raise UsageError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import UsageError

_USUAL_COLUMNS = ("label", "split", "digest", "corpus")


def require_several(values: Iterable[Any], what: str) -> None:
    """One text is a sequence of letters, too, and never meant as one."""
    if isinstance(values, (str, bytes)):
        raise UsageError(f"expected several {what}, got one text, {values!r}: put it into a list")
    if not isinstance(values, Iterable):
        raise UsageError(f"expected a list of {what}, got {values!r}")


def require_order(values: Iterable[Any], what: str, beside: str) -> None:
    """beside: whose order that of the values must be."""
    require_several(values, what)
    if isinstance(values, (set, frozenset, Mapping)):
        kind = type(values).__name__
        raise UsageError(f"expected {what} as a list in the order of {beside}; a {kind} has no order that could be meant")


def keys_of(keys: Iterable[str]) -> list[str]:
    """In any order."""
    require_several(keys, "keys")
    asked = list(keys)
    for key in asked:
        if not isinstance(key, str):
            raise UsageError(f"keys are texts; got {key!r}")
        require_whole_characters(key, "the key")
    return asked


def keys_in_order(keys: Iterable[str], beside: str) -> list[str]:
    require_order(keys, "keys", beside)
    return keys_of(keys)


def digests_in_order(digests: Iterable[bytes], beside: str) -> list[bytes]:
    require_order(digests, "digests", beside)
    return list(digests)


def require_whole_characters(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} {text!r} has half a character (a lone surrogate), which no file can hold") from None


def corpus_of_request(corpus: str | None) -> str | None:
    if corpus is not None and not isinstance(corpus, str):
        raise UsageError(f"a corpus is named by a text; got {corpus!r}")
    return corpus


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
        require_whole_characters(text or "", f"of {what}")
    return texts


def positions_of(positions: Sequence[int] | npt.NDArray[np.int64], rows: int, of: str) -> npt.NDArray[np.int64]:
    """As an array [n]. rows: how many items there are. of: what has them, for messages."""
    require_order(positions, "positions", "what is to be read")
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


def require_column_names(names: Sequence[str]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise UsageError(f"columns are named one by one, such as columns('key', 'label'); got {name!r}")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UsageError(f"the column {twice[0]!r} is asked for twice")


def require_meant_names(columns: Iterable[str]) -> None:
    """Of what is given to single items: a slip of the pen for one of the usual columns must not become an attribute of that name."""
    for name in columns:
        require_whole_characters(name, "the name")
        for usual in _USUAL_COLUMNS:
            if name != usual and sorted(name.lower().removesuffix("s")) == sorted(usual):
                raise UsageError(f"{name!r} is too like {usual!r} for the name of an attribute: was {usual}= meant?")


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
