"""Where a head may be: on a disk anywhere but in a store, and in a store, which may be in a bucket, at heads/TEAM/HEAD."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from storage.errors import AlreadyExistsError, UsageError
from storage.files import exists, is_writable, list_names
from storage.heads import DESCRIPTION, FOLDER, is_head_folder
from storage.names import BUCKETS, WEB, check_name, parse_root
from storage.place import Place, RemotePlace
from storage.shard_cache import unfinished_folder
from storage.store import STORE_FILE, probe, require_writable

_DEPTH = 3  # heads/TEAM/HEAD


def parse_head(head: str | Place) -> Place:
    """A head's folder, `file://` of one, or its place in a store in a bucket or behind a web server. Raises UsageError."""
    if isinstance(head, RemotePlace):
        return head
    if isinstance(head, Path) and head.parts[:1] and head.parts[0] in {f"{scheme}:" for scheme in (*BUCKETS, *WEB)}:
        raise UsageError(f"expected the place of a head as text; pathlib takes a slash away, and {str(head)!r} is a folder's name")
    if not str(head):
        raise UsageError("expected the place of a head, such as heads/photos; got an empty text")
    return parse_root(head)


def is_head(place: Place) -> bool:
    return exists(place / DESCRIPTION)


def require_head_place(head: Place) -> None:
    """Ask before the work whether a head can be written there.

    Raises UsageError for a folder that this user may not write to, for one below a file, for one in a store that is none of its heads
    (nobody would rank it, and `verify` would call it foreign), and for one in a bucket that is in no store; AlreadyExistsError where
    something other than a head is; PermafrostError for a bucket that takes nothing.
    """
    place = head.resolve() if isinstance(head, Path) else head
    if isinstance(place, Path) and (file := next((above for above in place.parents if above.is_file()), None)):
        raise UsageError(f"{file} is a file, not a folder: choose another --out")
    if not is_writable(place):
        raise UsageError(f"you may not write to the folder {head}: choose another --out")
    require_writable(place)
    root, below = _store_around(place)
    if root:
        _require_named(head, root, below)
    elif not isinstance(place, Path):
        raise UsageError(f"{head} is in no store: heads in a bucket are those of a store, at s3://BUCKET/heads/TEAM/HEAD")
    _require_free(head)
    if not isinstance(place, Path):
        probe(place)  # what these credentials may do, only a try tells


def work_folder(head: Place, what: str) -> Path:
    """Where a fit keeps on this machine what is done until the head is written: beside it, or with the cache for one in a bucket."""
    if isinstance(head, Path):
        return head.absolute().parent / f".{head.absolute().name}.{what}"
    return unfinished_folder() / f"{head.name}-{hashlib.sha256(str(head).encode()).hexdigest()[:16]}.{what}"


def _store_around(place: Place) -> tuple[Place | None, list[str]]:
    """The store, if there is one, and the names below it."""
    below: list[str] = []
    while place.parent != place:
        below.insert(0, place.name)
        place = place.parent
        if exists(place / STORE_FILE):
            return place, below
    return None, below


def _require_named(head: Place, root: Place, parts: Sequence[str]) -> None:
    if parts[0] != FOLDER or len(parts) != _DEPTH:
        raise UsageError(
            f"{head} is in the store {root}, whose heads are at {root / FOLDER}/TEAM/HEAD: choose such an --out, or one outside"
        )
    for name, what in zip(parts[1:], ("team", "head"), strict=True):
        check_name(name, what)


def _require_free(head: Place) -> None:
    in_the_way = list_names(head) or (isinstance(head, Path) and head.exists() and not head.is_dir())
    if in_the_way and not is_head_folder(head):  # one that lost its description is trained again
        raise AlreadyExistsError(f"{head} exists and is not a head folder: choose another --out")
