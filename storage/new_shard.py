"""A new shard of a set: private while it is written, then published under the name that its content gives it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from storage.files import FileEntry, give_up_room, private_file, publish_by_content
from storage.patience import full_disk_told
from storage.place import Place
from storage.shard import ShardFormat
from storage.shard_layout import ShardLayout

FOLDER = "shards"


class NewShard:
    """Rows in the order appended. Nothing of it is seen before `publish`. Raises DiskFullError, which names the set."""

    def __init__(self, set_folder: Place, partial: Path, kind: ShardFormat, layout: ShardLayout) -> None:
        self._set_folder, self._partial, self._suffix = set_folder, partial, kind.suffix
        with full_disk_told(set_folder):
            self._writer = kind.writer(partial, layout)
        self.rows = 0

    def append(self, digests: Sequence[bytes], embeddings: npt.NDArray[np.generic], views: int = 1) -> None:
        """embeddings: [n * views, *shape] in the layout's dtype: for each of the n digests those of its views, 0 first."""
        repeated = [digest for digest in digests for _ in range(views)]
        with full_disk_told(self._set_folder):
            self._writer.append(repeated, list(range(views)) * len(digests), embeddings)
        self.rows += len(repeated)

    def publish(self) -> FileEntry | None:
        """Finish and publish the file; None, and nothing published, if it has no rows."""
        with full_disk_told(self._set_folder):
            written = self._writer.close()
            if not written:
                return None
            sha256, size = publish_by_content(self._partial, self._set_folder / FOLDER, self._suffix)
        return FileEntry(f"{FOLDER}/{sha256}{self._suffix}", sha256, size, written)


@contextmanager
def new_shard(set_folder: Place, kind: ShardFormat, layout: ShardLayout, owner: str = "") -> Iterator[NewShard]:
    """A shard to append to; left without `publish`, nothing remains of it. owner: see `private_file`."""
    with full_disk_told(set_folder), private_file(set_folder / FOLDER, owner) as partial:
        try:
            yield NewShard(set_folder, partial, kind, layout)
        except BaseException:
            give_up_room(partial)
            raise
