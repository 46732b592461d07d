"""Removing a whole set: its versions first, so that no reader finds half of one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from storage.absent import FOLDER as ABSENT
from storage.absent import LIST
from storage.card_page import FILE as PAGE
from storage.errors import ConflictError, NotFoundError, UsageError
from storage.files import exists, list_names, remove, remove_folder
from storage.foreign_files import OF_SET
from storage.names import SetName
from storage.place import Place
from storage.run_watch import run_statuses
from storage.store import require_store, require_writable
from storage.versions import list_versions, tag_names, version_path
from storage.web_root import HINT


def remove_set(name: SetName, remove_it: bool) -> int:
    """Remove a set with its versions, tags and runs; returns the number of its files. What was cut off goes on.

    Raises NotFoundError, UsageError, ConflictError (a run is at work on it).
    """
    if name.at:
        raise UsageError(f"{name}: a whole set is removed; leave out '@{name.at}', or use `store expire` for versions")
    require_writable(name.root)  # nor can anything be listed there
    require_store(name.root)
    if _is_link(name.folder):
        raise UsageError(f"{name.folder} is a link to {Path(str(name.folder)).resolve()}: name the set where it is, or remove the link")
    if not (OF_SET - {PAGE}).intersection(list_names(name.folder)):
        raise NotFoundError(f"no feature set {name.team}/{name.name} in {name.root}: nothing is removed that is no part of one")
    if running := [status for status in run_statuses(name, None if remove_it else time.time) if status.state == "running"]:
        raise ConflictError(f"run {running[0].run} is at work on {name.folder} ({running[0].host}): cancel it first")
    files = list(_files(name.folder))
    if remove_it:
        for entry in (HINT, *(f"tags/{tag}.json" for tag in tag_names(name))):
            remove(name.folder / entry)  # first: a removal that was cut off is no set that has lost its versions
        for version in reversed(list_versions(name.folder)):
            remove(version_path(name.folder, version))
        for entry in (LIST, *(f"{ABSENT}/{marker}" for marker in list_names(name.folder / ABSENT))):
            remove(name.folder / entry)  # so that the first version of a set that is made anew has its number free
        remove(name.folder / "set.json")
        for file in files:
            remove(file)
        remove_folder(name.folder)
    return len(files)


def _is_link(place: Place) -> bool:
    return isinstance(place, Path) and place.is_symlink()


def _files(folder: Place) -> Iterator[Place]:
    """A link inside is removed as the file that it is, and what it leads to stays."""
    for entry in list_names(folder):
        if _is_link(folder / entry) or exists(folder / entry):
            yield folder / entry
        else:
            yield from _files(folder / entry)
