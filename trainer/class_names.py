"""Class names that are probably not meant: two of one class, or what a program writes where there is no label."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Mapping

NOTHING = frozenset({"nan", "none", "null", "nil", "na", "n/a", "#n/a", "<na>", "nat"})  # as written by spreadsheets, pandas and JSON
MOST_SHOWN = 3


def doubts_about(counts: Mapping[str, int]) -> list[str]:
    """What to say of the names of classes; counts: items by name. Such classes stay as they are."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in counts:
        alike[_plain(name)].append(name)
    several = [names for names in alike.values() if len(names) > 1]
    nothing = [name for plain in NOTHING & alike.keys() for name in alike[plain]]
    found = []
    if several:
        shown = "; ".join(" and ".join(_shown(name, counts) for name in names) for names in several[:MOST_SHOWN])
        more = f"; and {len(several) - MOST_SHOWN} more" if len(several) > MOST_SHOWN else ""
        found.append(
            f"classes differ only in case, spaces or the way letters are written: {shown}{more}. Each is a class of its own; if they are "
            "one, mend the labels, or merge them: --merge NEW=OLD,OLD"
        )
    if nothing:
        shown = ", ".join(_shown(name, counts) for name in sorted(nothing))
        found.append(
            f"a class has a name that often stands for no label: {shown}. It is a class like any other; if it is none, leave those labels "
            "empty, or name the classes that count: --classes NAME,NAME"
        )
    return found


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _shown(name: str, counts: Mapping[str, int]) -> str:
    return f"{name!r} ({counts[name]})"
