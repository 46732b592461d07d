"""Which of the images and keys to take down nothing had: a wrong letter in one of many must not look like a takedown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from storage.errors import DamagedError
from storage.names import SetName
from storage.place import Place
from storage.takedown_receipts import read_receipt, receipt_names
from storage.tombstones import Tombstone, hashed, read_one, set_label, takedown_names

FIELD = "not_found"  # of the receipt of a takedown


def not_found(images: Iterable[str], keys: Iterable[str], met: frozenset[str]) -> tuple[str, ...]:
    """Images, and keys as they were asked for, that are not among `met` (digests, and sha256 of keys), each once."""
    return tuple(dict.fromkeys([*(image for image in images if image not in met), *(key for key in keys if hashed(key) not in met)]))


def without_keys(names: Sequence[str], keys: Iterable[str]) -> list[str]:
    """The same for a receipt, in which a key is its sha256."""
    asked = set(keys)
    return [hashed(name) if name in asked else name for name in names]


def taken_before(root: Place, name: SetName | None, again: Tombstone | None) -> frozenset[str]:
    """Digests of images and sha256 of keys that earlier takedowns of the set, or of all sets, found. One without a receipt was cut off:
    what it is about counts as found.

    again: of a takedown that is repeated, whose tombstone may be lost.
    """
    receipts = receipt_names(root)
    found: set[str] = set()
    for stone in [*_tombstones(root), *([again] if again else [])]:
        if stone.set in (None, set_label(name) if name else None):
            missed = [_missed(root, receipt) for receipt in receipts if receipt.startswith(f"{stone.id}.")]
            about = {*stone.images, *(key for _, key in stone.keys)}
            found |= about - frozenset.intersection(*missed) if missed else about
    return frozenset(found)


def _tombstones(root: Place) -> Iterator[Tombstone]:
    for entry in takedown_names(root):
        with suppress(DamagedError):  # `storage.verify` tells, and the same takedown makes it again
            stone = read_one(root, entry)
            if isinstance(stone, Tombstone):
                yield stone


def _missed(root: Place, receipt: str) -> frozenset[str]:
    with suppress(DamagedError):
        return frozenset(read_receipt(root, receipt).get(FIELD, ()))
    return frozenset()
