"""What readers of a web root need, since web servers list nothing: sets and tombstones of the store; newest version and tags of each set.

Hints are replaced, not committed: two writers at once may leave the older one, and readers look onwards from there. Nobody else reads them.
"""

from __future__ import annotations

import logging
from typing import Any

from storage.absent import absent_versions
from storage.errors import DamagedError, NotFoundError, PermafrostError
from storage.expected_versions import hinted_newest
from storage.files import write_atomic
from storage.names import SetName
from storage.place import Place
from storage.sealed import read_sealed, seal
from storage.tombstones import takedown_names
from storage.versions import list_versions, tag_names
from storage.web_root import CATALOG, HINT

logger = logging.getLogger(__name__)


def leave_hints(name: SetName) -> None:
    """Bring the hints up to date after a commit, a tag or an expiry. A store that refuses them is no worse for all other readers."""
    try:
        _leave(name)
    except (OSError, PermafrostError) as error:
        logger.warning("the hints for readers over the web could not be written: %s", error)


def _leave(name: SetName) -> None:
    versions = list_versions(name.folder)
    newest = max([hinted_newest(name), *versions])  # a newest version that is lost stays told of
    hint = {"newest": newest, "absent": sorted(absent_versions(name)), "tags": tag_names(name)}
    _replace(name.folder / HINT, hint)
    sets = {*_read(name.root / CATALOG).get("sets", []), f"{name.team}/{name.name}"}
    taken_down = sorted(takedown_names(name.root))
    _replace(name.root / CATALOG, {"sets": sorted(sets), **({"takedowns": taken_down} if taken_down else {})})


def _replace(place: Place, value: dict[str, Any]) -> None:
    if _read(place) != value:
        write_atomic(place, seal(value))


def _read(place: Place) -> dict[str, Any]:
    try:
        return read_sealed(place, "hint")
    except (NotFoundError, DamagedError):
        return {}
