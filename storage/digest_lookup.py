"""From digests of images to positions in the items table, which is sorted by other things: all digests are read once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.digests import WORDS, DigestMap, to_words, words_of
from storage.errors import UsageError
from storage.files import FileEntry
from storage.items import ITEM_SCHEMA, read_tables
from storage.place import Place

_DIGEST = pa.schema([ITEM_SCHEMA.field("digest")])
_BYTES = WORDS * 8


class DigestLookup:
    """Memory: 8 bytes an image; the rest is mapped from files without names (`DigestMap`)."""

    def __init__(self, entries: Sequence[FileEntry], set_folder: Place) -> None:
        self._entries, self._folder = entries, set_folder

    def find(self, digests: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """The position of the first item of each image [n]; -1 where there is none. Raises UsageError for what is no sha256."""
        for digest in digests:
            if not isinstance(digest, bytes) or len(digest) != _BYTES:
                raise UsageError(f"a digest is the {_BYTES} bytes of a sha256 (bytes.fromhex makes them of its text); got {digest!r}")
        held, positions = self._map.find(words_of(digests))
        return np.where(held, positions[:, 0], -1).astype(np.int64)

    @cached_property
    def _map(self) -> DigestMap:
        found = DigestMap(1)
        start = 0
        for entry in self._entries:
            words = to_words(read_tables([entry], self._folder, _DIGEST)["digest"])
            found.add(words, np.arange(start, start + len(words), dtype=np.int32)[:, None])
            start += len(words)
        return found
