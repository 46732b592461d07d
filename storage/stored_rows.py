"""The stored bytes of single embeddings, to tell whether two are the same."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, closing
from types import TracebackType

from storage.damage import damage_named
from storage.errors import DamagedError
from storage.feature_set import read_description
from storage.files import FileEntry, open_listed
from storage.names import SetName
from storage.shard import ShardReader, shard_format


class StoredRows:
    """Reads from these shards of a set; each is opened once, when first asked for. For few rows."""

    def __init__(self, name: SetName, shards: Iterable[FileEntry]) -> None:
        self._name, self._shards = name, {entry.sha256: entry for entry in shards}
        self._readers: dict[str, ShardReader] = {}
        self._open = ExitStack()

    def read(self, place: tuple[str, int]) -> bytes:
        """The bytes of all views of the image there. Raises DamagedError."""
        shard, row = place
        if shard not in self._readers:
            self._readers[shard] = self._open.enter_context(closing(self._reader(shard)))
        return self._readers[shard].read(row, row + self._views).tobytes()

    def _reader(self, shard: str) -> ShardReader:
        if shard not in self._shards:
            raise DamagedError(f"{self._name}: an item points at shard {shard[:12]}, which its version does not list")
        description = read_description(self._name)
        self._views = len(description.space.views)
        entry = self._shards[shard]
        with damage_named(self._name.folder / entry.path, "shard"):
            return open_listed(self._name.folder, entry, shard_format(description.shard_format).reader)

    def __enter__(self) -> StoredRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()
