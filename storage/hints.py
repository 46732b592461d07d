"""What readers of a web root need, since web servers list nothing: sets and tombstones of the store; newest version and tags of each set.

Hints are replaced, not committed: two writers at once may leave the older one, and readers look onwards from there. Nobody else reads them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from storage.absent import absent_versions
from storage.catalog import set_names
from storage.errors import DamagedError, NotFoundError, PermafrostError
from storage.expected_versions import Hint, hinted_newest, hinted_tags
from storage.files import write_atomic
from storage.lost_tombstones import takedowns_told
from storage.names import SetName
from storage.place import Place
from storage.sealed import read_sealed, seal
from storage.tombstones import set_label, takedown_names
from storage.versions import list_versions, tag_names
from storage.web_root import CATALOG, HINT

logger = logging.getLogger(__name__)


def leave_hints(name: SetName, removed_tags: Collection[str] = (), given_up: Collection[str] = (), told: Hint = Hint()) -> None:
    """Bring the hints up to date after a commit, a tag or an expiry. given_up: names of records of takedowns, to be told of no more.
    told: versions and tags to tell of, too, though they are not there.

    A store that refuses them is no worse for all other readers.
    """
    try:
        _leave(name, removed_tags, given_up, told)
    except (OSError, PermafrostError) as error:
        logger.warning("the hints for readers over the web could not be written: %s", error)


def _leave(name: SetName, removed_tags: Collection[str], given_up: Collection[str], told: Hint) -> None:
    versions = list_versions(name.folder)
    newest = max([hinted_newest(name), told.newest, *versions])  # a newest version that is lost stays told of, and so does a tag
    tags = {*hinted_tags(name), *told.tags, *tag_names(name)} - ({*removed_tags} - {*tag_names(name)})
    hint = {"newest": newest, "absent": sorted(absent_versions(name) - {*versions}), "tags": sorted(tags)}
    _replace(name.folder / HINT, hint)
    there = _read(name.root / CATALOG).get("sets")  # one that cannot be read named others, too
    sets = {*(there if there is not None else map(set_label, set_names(name.root))), set_label(name)}
    lost = takedowns_told(name.root) - {*given_up}  # of the others none ever leaves
    taken_down = sorted(takedown_names(name.root) | lost)
    _replace(name.root / CATALOG, {"sets": sorted(sets), **({"takedowns": taken_down} if taken_down else {})})


def untold(name: SetName, hint: Mapping[str, Any] | None, catalog: Mapping[str, Any] | None, taken_down: Collection[str]) -> dict[str, str]:
    """By path in the set, what its hint or the store's catalog does not tell of it, and should. Of one that is not there they are empty, of
    a damaged one None. A hint may be older than the set."""
    if not list_versions(name.folder):
        return {}
    found, way_out = {}, "the next commit tells it, or `permafrost store repair`"
    if hint == {}:
        found[HINT] = f"there is none, so readers over the web look for versions one by one, and find no tag: {way_out}"
    if catalog is not None and set_label(name) not in catalog.get("sets", []):
        found[f"../../{CATALOG}"] = (
            f"{'it does not name the set' if catalog else 'there is none'}, so `ls` over the web misses it: {way_out}"
        )
    elif catalog is not None and not {*taken_down} <= {*catalog.get("takedowns", [])}:
        found[f"../../{CATALOG}"] = f"it does not name all that was taken down, which caches of readers over the web go by: {way_out}"
    return found


def _replace(place: Place, value: dict[str, Any]) -> None:
    if _read(place) != value:
        write_atomic(place, seal(value))


def _read(place: Place) -> dict[str, Any]:
    try:
        return read_sealed(place, "hint")
    except (NotFoundError, DamagedError):
        return {}
