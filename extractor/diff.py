"""What a listing means for a set: which items are known, and which have to be read. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    """Before anything is read. What the new and changed items are, apart from that, their bytes tell (`extractor.novelty`)."""

    to_read: list[Item]
    unchanged: dict[str, Known]  # by key: same stamp, so neither read nor embedded again
    read_before: dict[str, Known]  # by key, of those to read: what was known of them
    deleted_items: dict[str, Known]  # by key: known, and no longer listed
    moved: int  # new keys with the stamp of a deleted one: renamed, in all likelihood

    @property
    def new(self) -> int:
        """Keys that were not known."""
        return len(self.to_read) - len(self.read_before)

    @property
    def changed(self) -> int:
        """Keys that were known with another stamp, or whose reject may have passed."""
        return len(self.read_before)

    @property
    def deleted(self) -> int:
        return len(self.deleted_items)


def diff(items: Sequence[Item], known: Mapping[str, Known], rehash: bool = False, retry: Collection[str] = ()) -> Diff:
    """Compare a listing with what is known by key; an item is unchanged if its stamp is, and its reject (if any) is final.

    rehash: trust no stamp, so that every item is read, and its bytes tell. retry: further reasons whose rejects are read again.
    """
    to_read, unchanged = [], {}
    for item in items:
        before = known.get(item.key)
        if before is not None and before.stamp == item.stamp and not (rehash or _may_pass(before, retry)):
            unchanged[item.key] = before
        else:
            to_read.append(item)
    listed = {item.key for item in items}
    deleted = {key: before for key, before in known.items() if key not in listed}
    stamps = {before.stamp for before in deleted.values() if before.digest}
    moved = sum(item.key not in known and item.stamp in stamps for item in to_read)
    return Diff(to_read, unchanged, {item.key: known[item.key] for item in to_read if item.key in known}, deleted, moved)


def _may_pass(known: Known, retry: Collection[str]) -> bool:
    return known.reject is not None and (known.reject[0] in PASSING_REASONS or known.reject[0] in retry)
