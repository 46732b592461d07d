"""Versions that are not there on purpose: expired, or not copied. Any other gap between versions is damage."""

from __future__ import annotations

from collections.abc import Collection

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


def note_absent(name: SetName, leaving: Collection[int] = (), coming: Collection[int] = (), lost: Collection[int] = ()) -> None:
    """Note versions that leave, and those between the newest and what comes, before they do. A gap that was there stays damage, and so
    do versions that are lost."""
    there, before = set(list_versions(name.folder)), absent_versions(name)
    not_copied = range(max(there, default=0) + 1, max(coming, default=0))
    absent = {*before, *leaving, *not_copied} - (there - set(leaving)) - set(coming) - set(lost)
    if absent != before:
        write_atomic(name.folder / FILE, seal({"versions": sorted(absent)}))
