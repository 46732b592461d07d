"""What a listing means for a set: which items are known, and which have to be read. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from extractor.corpus import Item
from extractor.reasons import PASSING_REASONS


@dataclass(frozen=True)
class Known:
    """What an earlier run recorded of a key: its stamp, and its digest or its reject (reason, message)."""

    stamp: str
    digest: bytes | None
    reject: tuple[str, str] | None = None


@dataclass(frozen=True)
class Diff:
    to_read: list[Item]
    unchanged: dict[str, Known]  # by key: same stamp, so neither read nor embedded again
    new: int
    changed: int
    deleted: int


def diff(items: tuple[Item, ...], known: Mapping[str, Known], retry: Collection[str] = ()) -> Diff:
    """Compare a listing with what is known by key; an item is unchanged if its stamp is, and its reject (if any) is final.

    retry: further reasons whose rejects are read again.
    """
    to_read, unchanged, new = [], {}, 0
    for item in items:
        before = known.get(item.key)
        if before is not None and before.stamp == item.stamp and not _may_pass(before, retry):
            unchanged[item.key] = before
        else:
            to_read.append(item)
            new += before is None
    listed = {item.key for item in items}
    return Diff(to_read, unchanged, new, len(to_read) - new, sum(key not in listed for key in known))


def _may_pass(known: Known, retry: Collection[str]) -> bool:
    return known.reject is not None and (known.reject[0] in PASSING_REASONS or known.reject[0] in retry)
