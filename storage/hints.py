"""What readers of a web root need, since web servers list nothing: sets and tombstones of the store; newest version and tags of each set.

Hints are replaced, not committed. Who has replaced one looks again at what it should tell, and at what is there: so of two writers at once
the later one adds what the other brought. A writer that is killed in between leaves an older hint, from which readers look onwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from storage.absent import absent_versions
from storage.catalog import set_names
from storage.errors import DamagedError, NotFoundError, PermafrostError
from storage.expected_versions import Hint
from storage.files import write_atomic
from storage.names import SetName
from storage.place import Place
from storage.sealed import read_sealed, seal
from storage.tombstones import set_label, takedown_names
from storage.versions import list_versions, tag_names
from storage.web_root import CATALOG, HINT

logger = logging.getLogger(__name__)

MOST_TRIES = 10  # whoever has replaced it ten times since goes on


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
    seen = {*removed_tags}

    def hint(there: Mapping[str, Any], is_again: bool) -> dict[str, Any]:
        versions, tags = list_versions(name.folder), {*tag_names(name)}
        newest = max([there.get("newest", 0), told.newest, *versions])  # a newest version that is lost stays told of, and so does a tag
        named = {*there.get("tags", ()), *told.tags, *tags} - (seen - tags)  # but for one that was seen a moment ago, which was removed
        seen.update(tags)
        return {"newest": newest, "absent": sorted(absent_versions(name) - {*versions}), "tags": sorted(named)}

    def catalog(there: Mapping[str, Any], is_again: bool) -> dict[str, Any]:
        sets, own = there.get("sets", ()), set_label(name)
        if is_again or own not in sets:  # also of one that cannot be read, which named others
            sets = [own, *sets, *map(set_label, set_names(name.root, known=sets))]
        lost = {*there.get("takedowns", ())} - {*given_up}  # of the others none ever leaves
        taken_down = sorted(takedown_names(name.root) | lost)
        return {"sets": sorted({*sets}), **({"takedowns": taken_down} if taken_down else {})}

    _settle(name.folder / HINT, hint)
    _settle(name.root / CATALOG, catalog)


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


def _settle(place: Place, wanted: Callable[[Mapping[str, Any], bool], dict[str, Any]]) -> None:
    """Replace what is there until it is what it should be. wanted: what that is, given what is there and whether this writer has just
    replaced it, and perhaps what another one had added."""
    for tries in range(MOST_TRIES):
        there = _read(place)
        if there == (value := wanted(there, tries > 0)):
            return
        write_atomic(place, seal(value))


def _read(place: Place) -> dict[str, Any]:
    try:
        return read_sealed(place, "hint")
    except (NotFoundError, DamagedError):
        return {}
