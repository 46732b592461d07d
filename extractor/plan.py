"""From items to units of work: a pure function of the listing and the settings, never of the number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from extractor.corpus import Item

SHARD_BYTES = 64 << 20  # 64 MiB: what one unit's shard may hold at most
MIN_UNIT_ITEMS = 256  # a smaller unit costs more in starting and finishing than it wins in balance
UNITS_AIMED_AT = 64  # enough to keep many workers busy to the end, few enough for large shards


ITEM_BYTES = 512  # of item file, receipt and shard beside the embedding; measured 250 to 400 with paths of 40 characters


@dataclass(frozen=True)
class Unit:
    """A contiguous slice of the plan, or a part of one; becomes one shard."""

    id: str  # of a part: that of the whole, "-", and 0 or 1
    items: tuple[Item, ...]


def bytes_needed(items: int, image_bytes: int) -> int:
    """What items to read may take on disk, at most: none of them a copy of a known image. image_bytes: of all views' embeddings."""
    return items * (image_bytes + ITEM_BYTES)


def make_units(items: Sequence[Item], image_bytes: int, first_id: int = 0) -> list[Unit]:
    """Cut items into units of equal size: about 64 units, at least 256 items each, at most 64 MiB of embeddings each.

    They are in the order of their places, so that a container is read front to back even where its keys are in another order.
    """
    items = sorted(items, key=lambda item: item.location)  # stable: what has no location of its own stays in the order of its keys
    by_bytes = max(1, SHARD_BYTES // image_bytes)
    size = min(by_bytes, max(MIN_UNIT_ITEMS, -(-len(items) // UNITS_AIMED_AT)))
    starts = range(0, len(items), size)
    return [Unit(f"{first_id + i:06d}", tuple(items[start : start + size])) for i, start in enumerate(starts)]


def halves(unit: Unit) -> tuple[Unit, Unit]:
    """The two parts of a unit of at least two items."""
    middle = (len(unit.items) + 1) // 2
    return Unit(f"{unit.id}-0", unit.items[:middle]), Unit(f"{unit.id}-1", unit.items[middle:])


def planned_id(unit: Unit) -> str:
    """The id of the unit of the plan that this one is, or is a part of."""
    return unit.id.partition("-")[0]


def is_part(part: str, whole: str) -> bool:
    """Whether one unit, by id, came from splitting the other."""
    return part.startswith(f"{whole}-")
