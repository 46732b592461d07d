"""From items to units of work: a pure function of the listing and the settings, never of the number of workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from extractor.corpus import SETS, Item, Items, items_of

SHARD_BYTES = 64 << 20  # 64 MiB: what one unit's shard may hold at most
MIN_UNIT_ITEMS = 256  # a smaller unit costs more in starting and finishing than it wins in balance
MAX_UNIT_ITEMS = 8192  # 3 MB of items in the driver for each unit at hand: three a worker
UNITS_AIMED_AT = 64  # enough to keep many workers busy to the end, few enough for large shards


ITEM_BYTES = 512  # of item file, receipt and shard beside the embedding; measured 250 to 400 with paths of 40 characters


@dataclass(frozen=True)
class Unit:
    """A contiguous slice of the plan, or a part of one; becomes one shard of each set.

    sets: for each item a bit for each set of the run that is to read it, 1 << number; (): all of them read all.
    """

    id: str  # of a part: that of the whole, "-", and 0 or 1
    items: tuple[Item, ...]
    sets: tuple[int, ...] = ()

    def wanted_by(self, position: int) -> int:
        """Bits of the sets that are to read the item."""
        return self.sets[position] if self.sets else -1

    def __reduce__(self) -> tuple[Any, ...]:
        """As plain tuples: 300 items take the driver 0.1 ms instead of 0.5, because Ray's pickler looks at each object in Python."""
        return _unit_of, (self.id, tuple(map(tuple, self.items)), self.sets)


def _unit_of(unit: str, items: Iterable[tuple[Any, ...]], sets: tuple[int, ...]) -> Unit:
    return Unit(unit, tuple(map(Item._make, items)), sets)


def bytes_needed(items: int, image_bytes: int) -> int:
    """What items to read may take on disk, at most: none of them a copy of a known image. image_bytes: of all views' embeddings."""
    return items * (image_bytes + ITEM_BYTES)


@dataclass(frozen=True)
class Units:
    """All units of a plan, made one by one as they are asked for: a plan may be larger than memory should hold."""

    items: Items
    size: int
    first_id: int = 0

    def __len__(self) -> int:
        return -(-len(self.items) // self.size)

    def __iter__(self) -> Iterator[Unit]:
        for number, (start, stop) in enumerate(self._spans()):
            rows = self.items.rows.read(start, stop)
            sets = tuple(rows[SETS].to_pylist()) if SETS in rows.column_names else ()
            yield Unit(self._id(number), tuple(items_of(rows)), sets)

    def describe(self) -> list[dict[str, Any]]:
        """What the plan of a run says of each unit: id, number of items, first and last key."""
        keys = ((start, stop, self.items.rows.read(start, stop)["key"]) for start, stop in self._spans())
        return [
            {"id": self._id(number), "items": stop - start, "first": of_unit[0].as_py(), "last": of_unit[-1].as_py()}
            for number, (start, stop, of_unit) in enumerate(keys)
        ]

    def _id(self, number: int) -> str:
        return f"{self.first_id + number:06d}"

    def _spans(self) -> Iterator[tuple[int, int]]:
        return ((start, min(start + self.size, len(self.items))) for start in range(0, len(self.items), self.size))


def make_units(items: Items, image_bytes: int, first_id: int = 0) -> Units:
    """Cut items into units of equal size: about 64 units, at least 256 items each, at most 8192, and 64 MiB of embeddings."""
    return Units(items, unit_size(len(items), image_bytes), first_id)


def unit_size(items: int, image_bytes: int) -> int:
    by_bytes = max(1, SHARD_BYTES // image_bytes)
    return min(by_bytes, MAX_UNIT_ITEMS, max(MIN_UNIT_ITEMS, -(-items // UNITS_AIMED_AT)))


def halves(unit: Unit) -> tuple[Unit, Unit]:
    """The two parts of a unit of at least two items."""
    middle = (len(unit.items) + 1) // 2
    first, second = slice(0, middle), slice(middle, None)
    return Unit(f"{unit.id}-0", unit.items[first], unit.sets[first]), Unit(f"{unit.id}-1", unit.items[second], unit.sets[second])


def planned_id(unit: Unit) -> str:
    """The id of the unit of the plan that this one is, or is a part of."""
    return unit.id.partition("-")[0]


def is_part(part: str, whole: str) -> bool:
    """Whether one unit, by id, came from splitting the other."""
    return part.startswith(f"{whole}-")
