"""Where a head may be written: anywhere but in a store, and there at heads/TEAM/HEAD."""

from __future__ import annotations

from pathlib import Path

from storage.errors import UsageError
from storage.files import is_writable
from storage.heads import FOLDER
from storage.names import check_name
from storage.store import STORE_FILE


def require_head_place(head: Path) -> None:
    """Raise UsageError for a folder that this user may not write to, and for one in a store that is none of its heads: nobody would rank
    it, and `verify` would call it foreign."""
    path = head.resolve()
    if not is_writable(path):
        raise UsageError(f"you may not write to the folder {head}: choose another --out")
    root = next((folder for folder in path.parents if (folder / STORE_FILE).is_file()), None)
    if root is None:
        return
    place = path.relative_to(root).parts
    if place[0] != FOLDER or len(place) != 3:
        raise UsageError(
            f"{head} is in the store {root}, whose heads are at {root / FOLDER}/TEAM/HEAD: choose such an --out, or one outside"
        )
    for name, what in zip(place[1:], ("team", "head"), strict=True):
        check_name(name, what)
