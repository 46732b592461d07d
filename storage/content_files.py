"""Files of a set that are named by their sha256, whether a version lists them or not."""

from __future__ import annotations

from collections.abc import Iterator

from storage.files import FileEntry, list_names, size_of
from storage.place import Place


def files_in(set_folder: Place, kind: str) -> Iterator[FileEntry]:
    """kind: shards, items, rejects or golden. How many rows they have, nobody says: 0."""
    for name in list_names(set_folder / kind):
        size = size_of(set_folder / kind / name)
        if size is not None:
            yield FileEntry(f"{kind}/{name}", name.partition(".")[0], size, 0)
