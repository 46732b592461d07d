"""Where a store may be made: not in another one and not around one, whose commands would take each other's files for their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from storage.errors import PermafrostError, UsageError
from storage.files import exists, list_folders
from storage.names import SetName
from storage.place import Place
from storage.web_root import STORE_FILE

EXPORT = "export.json"  # in the folder of an exported model
LEVELS_BELOW = 3  # that are looked through: a store stands beside others or where ROOT/TEAM/SET was cut short
MOST_FOLDERS = 1000  # of a level, so that a home folder or a bucket of many prefixes takes a second or two
THREADS = 8

Found = TypeVar("Found")


def require_free_place(root: Place) -> None:
    """Raise UsageError where a store above or below `root` would have its files in common with it."""
    _require_outside(root)
    if store := _store_below(root):
        raise UsageError(
            f"{root} cannot be made a store, because {store} in it is one: to write there, name a set as {store}/TEAM/SET; for a store of "
            "its own choose a folder that holds none"
        )


def require_no_export(name: SetName) -> None:
    """Raise UsageError if the set's folder is that of an exported model."""
    if exists(name.folder / EXPORT) and not exists(name.folder / "set.json"):
        raise UsageError(f"{name.folder} holds an exported model ({EXPORT}): choose another name for the set, or move the model away")


def require_no_file_in_its_way(root: Place) -> None:
    """Raise UsageError if `root` can be no store because a file is where a folder should be."""
    if not isinstance(root, Path):
        return
    obstacle = next((path for path in (root, *root.parents) if path.exists() and not path.is_dir()), None)
    if obstacle:
        raise UsageError(f"the store {root} cannot be made: {obstacle} is a file")


def _require_outside(root: Place) -> None:
    place = root.resolve() if isinstance(root, Path) else root
    while place.parent != place:
        place = place.parent
        if _is_store(place):
            raise UsageError(
                f"{root} is a folder of the store {place}: expected one outside of it, or {place} itself, whose sets are named "
                f"{place}/TEAM/SET"
            )


def _store_below(root: Place) -> Place | None:
    level: list[Place] = [root]
    for _ in range(LEVELS_BELOW):
        inside = _of_each(_folders, level)
        level = [place for places in inside for place in places][:MOST_FOLDERS]
        for place, is_store in zip(level, _of_each(_is_store, level), strict=True):
            if is_store:
                return place
    return None


def _of_each(ask: Callable[[Place], Found], places: Iterable[Place]) -> list[Found]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(ask, places))


def _folders(place: Place) -> list[Place]:
    with suppress(OSError, PermafrostError):  # what may not be looked into is none of this user's; of an outage the next request tells
        return [place / name for name in list_folders(place)]
    return []


def _is_store(place: Place) -> bool:
    with suppress(PermissionError, PermafrostError):  # credentials may be for one prefix alone
        return exists(place / STORE_FILE)
    return False
