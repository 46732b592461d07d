"""New shards of a set, one after the other, each of about the size that shards should have."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType

import numpy as np
import numpy.typing as npt

from storage.files import FileEntry
from storage.new_shard import NewShard, new_shard
from storage.place import Place
from storage.shard import ShardFormat
from storage.shard_layout import ShardLayout

SHARD_BYTES = 64 << 20  # 64 MiB of embeddings a shard, as in extraction


class ShardSeries:
    """A shard ends with the append that fills it; `published` are all of them once the context is left without an error."""

    def __init__(self, set_folder: Place, kind: ShardFormat, layout: ShardLayout, shard_bytes: int) -> None:
        self._begin = partial(new_shard, set_folder, kind, layout)
        self._most_rows = max(1, shard_bytes // layout.embedding_bytes)
        self._open = ExitStack()
        self._shard: NewShard | None = None
        self.published: list[FileEntry] = []

    @property
    def number(self) -> int:
        """Of the shard being written, or of the next one if none is."""
        return len(self.published)

    @property
    def rows(self) -> int:
        """So far in that shard."""
        return self._shard.rows if self._shard else 0

    def append(self, digests: Sequence[bytes], embeddings: npt.NDArray[np.generic], views: int = 1) -> None:
        """As `NewShard.append`."""
        if not digests:
            return
        if self._shard is None:
            self._shard = self._open.enter_context(self._begin())
        self._shard.append(digests, embeddings, views)
        if self.rows >= self._most_rows:
            self._publish()

    def __enter__(self) -> ShardSeries:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._open:
            if kind is None:
                self._publish()

    def _publish(self) -> None:
        if self._shard is not None and (entry := self._shard.publish()):
            self.published.append(entry)
        self._open.close()
        self._shard = None
