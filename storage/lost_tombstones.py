"""Tombstones that are lost: something tells of a takedown of which nobody can say any more what it was.

A takedown leaves its tombstone first. So a receipt, which has its id in the name, and a record of files that left, have one; and what the
catalog has told of was there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from storage.errors import DamagedError, NotFoundError
from storage.place import Place
from storage.sealed import read_sealed
from storage.web_root import CATALOG

if TYPE_CHECKING:
    from storage.tombstones import Record, Tombstone

WAY_OUT = (
    "take it from a copy of the store (`permafrost store repair ROOT/TEAM/SET --from ROOT`), or repeat that takedown, which makes it anew"
)


def takedowns_told(root: Place) -> frozenset[str]:
    """Names of tombstones and records that the store's catalog tells of; none where it is missing or damaged."""
    try:
        return frozenset(map(str, read_sealed(root / CATALOG, "catalog").get("takedowns", ())))
    except (NotFoundError, DamagedError):
        return frozenset()


def lost_tombstones(
    names: Collection[str], told: Iterable[str], receipts: Iterable[str], stones: Iterable[Tombstone], records: Mapping[str, Record]
) -> dict[str, str]:
    """By name of a tombstone that is lost, or of a record that has none: why that is known.

    names: of tombstones that are there, damaged ones too. told: names of tombstones that the catalog tells of. receipts: names of theirs.
    stones, records: that can be read; no records where a tombstone cannot, which may be theirs.
    """
    lost = {name: f"it is not there, and {CATALOG} tells of it" for name in sorted(told) if name not in names}
    for receipt in sorted(receipts):
        if (tombstone := f"{receipt.partition('.')[0]}.json") not in names:
            lost[tombstone] = f"it is not there, and its receipt {receipt} tells of it"
    images, sets = {image for stone in stones for image in stone.images}, {stone.set for stone in stones}
    for name, record in sorted(records.items()):
        # One that came with a copy of a set names no files that left, and tells of images that were taken down elsewhere, too.
        has_its_own = {file.image for file in record.known} <= images and (None in sets or {gone.set for gone in record.gone} <= sets)
        if record.gone and not has_its_own:
            lost[name] = "it tells of files that left for a takedown, and there is no tombstone of that"
    return lost


def require_none_lost(folder: Place, lost: Mapping[str, str]) -> None:
    """Raises DamagedError: what was taken down would come back."""
    for name, why in lost.items():
        raise DamagedError(f"the tombstone {folder / name} is lost: {why}. So that nothing that was taken down comes back, {WAY_OUT}")
