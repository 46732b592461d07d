"""Versions that are not there on purpose: expired, or not copied. Any other gap between versions is damage."""

from __future__ import annotations

from collections.abc import Iterable

from storage.errors import NotFoundError
from storage.files import write_atomic
from storage.names import SetName
from storage.sealed import read_sealed, seal
from storage.versions import list_versions

FILE = "absent.json"


def absent_versions(name: SetName) -> set[int]:
    """Raises DamagedError."""
    try:
        return set(read_sealed(name.folder / FILE, "list of absent versions").get("versions", []))
    except NotFoundError:
        return set()


def note_absent(name: SetName, leaving: Iterable[int] = (), coming: Iterable[int] = ()) -> None:
    """Note all gaps between versions when some have left and others have come, before they do."""
    there = {*list_versions(name.folder), *coming} - set(leaving)
    newest = max(there, default=0)
    gaps = sorted(set(range(1, newest)) - there)
    if set(gaps) != absent_versions(name):
        write_atomic(name.folder / FILE, seal({"versions": gaps}))
