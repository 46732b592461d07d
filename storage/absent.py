"""Versions that are not there on purpose: expired, or not copied. Any other gap between versions is damage.

Each has a marker of its own, which is created and never changed: so of several who let versions leave at once, nobody undoes what another
one noted. A version that is there counts as there, whatever its marker says. Stores made before have one list, `absent.json`, which is
read, and taken over by whoever next lets a version leave.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from storage.errors import AlreadyExistsError, DamagedError, NotFoundError
from storage.files import create_exclusive, exists, list_names, remove, write_atomic
from storage.names import SetName
from storage.place import Place
from storage.sealed import read_sealed, seal
from storage.versions import list_versions, version_path

FOLDER = "absent"
LIST = "absent.json"
MARKER = re.compile(r"([0-9]{8})\.json")
THREADS = 8


def absent_versions(name: SetName) -> set[int]:
    """All that are noted. Raises DamagedError (of the list of a store made before)."""
    listed = _listed(name)  # first: who takes it over has left all markers when it goes
    return listed | {int(found[1]) for entry in list_names(name.folder / FOLDER) if (found := MARKER.fullmatch(entry))}


def absent_among(name: SetName, versions: Collection[int]) -> set[int]:
    """Those of some versions that are noted, though a listing, or a hint of a web server, may be behind. Raises DamagedError."""
    if not versions:
        return set()
    noted = absent_versions(name)
    return {version for version in versions if version in noted or _is_marked(name, version)}


def is_absent(name: SetName, version: int) -> bool:
    """Raises DamagedError."""
    return version in _listed(name) or _is_marked(name, version)


def mark_absent(name: SetName, versions: Iterable[int]) -> None:
    """Note versions that leave: before they do, and once more when they have, since somebody who found them there may have taken the
    marker away in between."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(partial(_mark, name), versions))


def mark_not_copied(name: SetName, coming: Collection[int], lost: Collection[int]) -> None:
    """Note the versions between the newest one and those that come. Others that are missing stay damage, and so do those that are lost."""
    newest = max(list_versions(name.folder), default=0)
    mark_absent(name, sorted({*range(newest + 1, max(coming, default=0))} - {*coming} - {*lost}))


def unmark_present(name: SetName) -> None:
    """Take away the markers of versions that are there, so that they are missed when they are lost."""
    _take_over_list(name)
    for version in sorted(absent_versions(name) & {*list_versions(name.folder)}):
        if exists(version_path(name.folder, version)):
            remove(marker(name, version))
            if not exists(version_path(name.folder, version)):  # it has left in this very moment
                _mark(name, version)


def marker(name: SetName, version: int) -> Place:
    return name.folder / FOLDER / f"{version:08d}.json"


def read_marker(name: SetName, version: int) -> None:
    """Raises NotFoundError, DamagedError."""
    if read_sealed(marker(name, version), "marker of an absent version") != _content(version):
        raise DamagedError(f"{marker(name, version)} is of another version")


def write_marker(name: SetName, version: int) -> None:
    """Anew, in the place of a damaged one: its name says it all."""
    write_atomic(marker(name, version), seal(_content(version)))


def _mark(name: SetName, version: int) -> None:
    if not exists(marker(name, version)):
        with suppress(AlreadyExistsError):
            create_exclusive(marker(name, version), seal(_content(version)))


def _content(version: int) -> dict[str, object]:
    return {"version": version}


def _is_marked(name: SetName, version: int) -> bool:
    with suppress(NotFoundError, DamagedError):  # some web servers have an answer for any path
        read_marker(name, version)
        return True
    return False


def _listed(name: SetName) -> set[int]:
    try:
        return set(read_sealed(name.folder / LIST, "list of absent versions").get("versions", []))
    except NotFoundError:
        return set()


def _take_over_list(name: SetName) -> None:
    if listed := _listed(name):
        mark_absent(name, sorted(listed))
        remove(name.folder / LIST)
