"""The store itself: the root folder, its format version, and what its disk was found to guarantee."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from storage.errors import AlreadyExistsError, DamagedError, NotFoundError, UsageError
from storage.files import create_exclusive, exists, read_json, remove, to_json
from storage.place import Place

STORE_FORMAT = 1
STORE_FILE = "permafrost.json"


def ensure_store(root: Place) -> None:
    """Make `root` a store if it is none yet, and check that this program reads its format."""
    require_possible_root(root)
    if not exists(root / STORE_FILE):
        with suppress(AlreadyExistsError):  # another process may make it a store in this very moment
            create_exclusive(root / STORE_FILE, to_json({"format": STORE_FORMAT, "backend": {"kind": "folder", **_probe(root)}}))
    require_store(root)


def require_possible_root(root: Place) -> None:
    """Raise UsageError if `root` can be no store because a file is in its way."""
    if not isinstance(root, Path):
        return
    obstacle = next((path for path in (root, *root.parents) if path.exists() and not path.is_dir()), None)
    if obstacle:
        raise UsageError(f"the store {root} cannot be made: {obstacle} is a file")


def require_store(root: Place) -> None:
    """Raise NotFoundError if `root` is no store, DamagedError if it is one that this program cannot read."""
    path = root / STORE_FILE
    if not exists(path):
        raise NotFoundError(f"{root} is not a feature store (it has no {STORE_FILE}); `permafrost extract` makes one")
    found = read_json(path, "store description").get("format")
    if found != STORE_FORMAT:
        raise DamagedError(f"{path}: store format {found!r}, this program reads {STORE_FORMAT}")


def _probe(root: Place) -> dict[str, bool]:
    """Try what commits rely on: creating a name twice must fail."""
    probe = root / f".probe-{secrets.token_hex(8)}.json"
    try:
        create_exclusive(probe, b"{}")
        try:
            create_exclusive(probe, b"{}")
        except AlreadyExistsError:
            return {"exclusive_create": True}
        raise DamagedError(f"{root} lets one name be created twice: versions of two writers could overwrite each other there")
    finally:
        remove(probe)
