"""What was found in one container, and how that of all of them becomes a listing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from extractor.corpus import MAX_NAME, Item, ListingReject
from storage.errors import UsageError


@dataclass
class Contents:
    """Items in the order in which they lie in the container, and what is no item."""

    items: list[Item] = field(default_factory=list)
    rejects: list[ListingReject] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    attributes: dict[str, pa.ChunkedArray | pa.Array] = field(default_factory=dict)  # each of as many values as there are items


def name_problem(name: str) -> str:
    """Why this cannot be (part of) a key, or "". Keys become paths in other people's hands."""
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError:
        return "the name is not valid UTF-8"
    if name.startswith("/") or ".." in name.split("/"):
        return "the name leads out of the container"
    if "\0" in name:
        return "the name has a NUL character"
    return f"the name has {len(encoded)} bytes, the limit is {MAX_NAME}" if len(encoded) > MAX_NAME else ""


@dataclass(frozen=True)
class Joined:
    items: tuple[Item, ...]
    rejects: tuple[ListingReject, ...]
    attributes: pa.Table | None


def join(contents: Sequence[Contents]) -> Joined:
    """All items sorted by key, each key once: the first one counts, later ones are rejects."""
    items = [item for found in contents for item in found.items]
    rejects = [reject for found in contents for reject in found.rejects]
    order = sorted(range(len(items)), key=lambda i: items[i].key.encode())  # stable: of equal keys the first one stays first
    kept: list[int] = []
    for i in order:
        if kept and items[kept[-1]].key == items[i].key:
            first, second = items[kept[-1]].location, items[i].location
            rejects.append(ListingReject(items[i].key, items[i].stamp, "repeated-key", f"{second} has the key of {first}"))
        else:
            kept.append(i)
    return Joined(tuple(items[i] for i in kept), tuple(rejects), _attributes(contents, kept))


def _attributes(contents: Sequence[Contents], kept: list[int]) -> pa.Table | None:
    names = dict.fromkeys(name for found in contents for name in found.attributes)
    if not names:
        return None
    # "key": a table of no columns has no rows.
    tables = [pa.table({"key": [item.key for item in found.items], **found.attributes}) for found in contents if found.items]
    try:
        whole = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise UsageError(f"the containers have columns of one name and different types: {error}") from None
    return whole.select([name for name in names if name in whole.column_names]).take(pa.array(kept, pa.int64()))
