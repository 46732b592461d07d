"""Whether the cache of this machine holds a set of a remote store; who reads such a set whole is told where it does not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache

from storage.files import FileEntry
from storage.place import Place, RemotePlace
from storage.shard_cache import cache_bytes
from storage.sizes import human_bytes

logger = logging.getLogger(__name__)


def tell_of_small_cache(folder: Place, shards: Sequence[FileEntry], item_files: Sequence[FileEntry]) -> None:
    """Log a warning, once in a process, if the shards of a set alone exceed PERMAFROST_CACHE_BYTES. Raises UsageError where that is no
    number. Item files are read once, before the shards, and need room only to be there next time."""
    size = sum(entry.bytes for entry in shards)
    if isinstance(folder, RemotePlace) and size > cache_bytes():
        _tell(str(folder), size, size + sum(entry.bytes for entry in item_files), cache_bytes())


@cache
def _tell(folder: str, size: int, needed: int, bound: int) -> None:
    logger.warning(
        "the shards of %s take %s, and the cache of this machine holds %s: each pass over the set, such as an epoch that is streamed, "
        "fetches them again. Set PERMAFROST_CACHE_BYTES to %d or more, or copy the set to a disk with `permafrost store copy`",
        *(folder, human_bytes(size), human_bytes(bound), needed),
    )
