"""Rows on their way into a shard, gathered to blocks of equal size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from storage.shard_layout import ShardLayout

DIGEST_BYTES = 32


class RowBlock:
    """At most `rows` rows; the first `held` of each array count. The arrays are used again for each block.

    Fresh memory for every block cost more than all else in writing: the system has to clear it.
    """

    def __init__(self, layout: ShardLayout, rows: int) -> None:
        self.held, self._layout = 0, layout
        self.digests = np.empty((rows, DIGEST_BYTES), np.uint8)
        self.views = np.empty(rows, "<i2")
        self.embeddings = np.empty((rows, *layout.shape), np.dtype(layout.dtype).newbyteorder("<"))

    def filled(self, digests: Sequence[bytes], views: Sequence[int], embeddings: npt.NDArray[np.generic]) -> Iterator[None]:
        """Copy rows in, and give the word whenever the block is full, which it is no more afterwards. Raises ValueError."""
        self._require_fit(digests, views, embeddings)
        words = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)
        numbers = np.asarray(views, "<i2")
        start = 0
        while start < len(words):
            stop = min(len(words), start + len(self.views) - self.held)
            held = slice(self.held, self.held + stop - start)
            self.digests[held], self.views[held], self.embeddings[held] = words[start:stop], numbers[start:stop], embeddings[start:stop]
            self.held, start = held.stop, stop
            if self.held == len(self.views):
                yield
                self.held = 0

    def _require_fit(self, digests: Sequence[bytes], views: Sequence[int], embeddings: npt.NDArray[np.generic]) -> None:
        expected = (len(digests), *self._layout.shape)
        if embeddings.shape != expected or embeddings.dtype != np.dtype(self._layout.dtype):
            raise ValueError(f"expected embeddings {expected} {self._layout.dtype}, got {embeddings.shape} {embeddings.dtype}")
        if len(views) != len(digests) or any(len(digest) != DIGEST_BYTES for digest in digests):
            raise ValueError(f"expected {len(digests)} digests of {DIGEST_BYTES} bytes and as many views, got {len(views)} views")
