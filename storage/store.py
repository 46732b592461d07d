"""The store itself: its root, its format version, and what its backend was found to guarantee."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from storage.errors import AlreadyExistsError, DamagedError, NotFoundError, PermafrostError, UsageError
from storage.files import create_exclusive, exists, list_names, remove
from storage.names import SetName
from storage.place import Place, RemotePlace
from storage.sealed import read_sealed, seal
from storage.store_place import require_free_place, require_no_export, require_no_file_in_its_way
from storage.takedown_cache import honour_takedowns
from storage.web_root import CATALOG, TAKEDOWNS, WebRoot
from storage.web_root import STORE_FILE as STORE_FILE

STORE_FORMAT = 1


def ensure_store(root: Place) -> None:
    """Make a local `root` a store if it is none yet, and check that this program reads its format. A remote one must have been made."""
    require_no_file_in_its_way(root)
    if isinstance(root, Path) and not exists(root / STORE_FILE):
        init_store(root)
    require_store(root)


def init_store(root: Place) -> dict[str, Any]:
    """Make `root` a store, if it is none yet, and try what it relies on; returns its description.

    Raises PermafrostError where names can be created twice: the versions of two writers would overwrite each other there; UsageError
    where nothing can be written, or a store is above or below.
    """
    require_writable(root)
    require_no_file_in_its_way(root)
    is_new = not exists(root / STORE_FILE)
    if is_new:
        require_free_place(root)
    probe(root)
    if is_new:
        kind = "folder" if isinstance(root, Path) else "bucket"
        with suppress(AlreadyExistsError):  # another process may make it a store in this very moment
            create_exclusive(root / STORE_FILE, seal({"format": STORE_FORMAT, "backend": {"kind": kind, "exclusive_create": True}}))
    return require_store(root)


def require_writable(root: Place) -> None:
    """Raise UsageError for a store behind a web server."""
    if is_behind_web(root):
        raise UsageError(f"{root} is behind a web server, where nothing can be written: name the store's own folder or bucket")


def is_behind_web(root: Place) -> bool:
    """Whether nothing can be written or listed there."""
    return isinstance(root, RemotePlace) and isinstance(root.backend, WebRoot)


def require_possible_set(name: SetName) -> None:
    """Whether the set can be written, or made, asked before anything is. Raises what `require_possible_root` does, and UsageError for the
    folder of an exported model."""
    require_possible_root(name.root)
    require_no_export(name)


def require_possible_root(root: Place) -> None:
    """Whether sets can be written there, asked before anything is: `root` is a store, or a folder that can be made one.

    Raises UsageError (a file is in its way, or a store above or below it), NotFoundError for a bucket that is no store.
    """
    require_no_file_in_its_way(root)
    if exists(root / STORE_FILE):
        return
    if isinstance(root, Path):
        require_free_place(root)
    else:
        require_store(root)


def require_store(root: Place) -> dict[str, Any]:
    """Its description. Whoever opens a store asks for it, so that this machine's cache holds nothing any more that was taken down there.

    Raises NotFoundError if `root` is no store, DamagedError if it is one that this program cannot read.
    """
    path = root / STORE_FILE
    if not exists(path):
        here = " (this folder: a set is named ROOT/TEAM/SET)" if str(root) == "." else ""
        raise NotFoundError(f"{root}{here} is not a feature store (it has no {STORE_FILE}); {_way_to_a_store(root)}")
    description = read_sealed(path, "store description")
    if description.get("format") != STORE_FORMAT:
        raise DamagedError(f"{path}: store format {description.get('format')!r}, this program reads {STORE_FORMAT}")
    honour_takedowns(root)
    return description


def _way_to_a_store(root: Place) -> str:
    if isinstance(root, Path) and not (exists(root / CATALOG) or list_names(root / TAKEDOWNS)):
        return "`permafrost extract` makes one"
    if is_behind_web(root):
        return f"name the folder of the web server in which {STORE_FILE} of a published store is"
    return f"`permafrost store init {root}` makes {'it anew, if it is lost' if isinstance(root, Path) else 'one'}"


def probe(root: Place) -> None:
    """Try what commits rely on: a name that is taken cannot be created. Raises PermafrostError where it can."""
    trial = root / f".probe-{secrets.token_hex(8)}.json"
    try:
        create_exclusive(trial, b"1")
        try:
            create_exclusive(trial, b"2")
        except AlreadyExistsError:
            return
        raise PermafrostError(f"{root} lets one name be created twice: versions of two writers could overwrite each other there")
    finally:
        remove(trial)
