"""A feature set at one version: what it is, and its items and embeddings as NumPy or Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.errors import DamagedError, NotFoundError, UsageError
from storage.files import exists, list_names, open_listed, size_of
from storage.golden import GoldenImages, read_golden
from storage.items import REJECT_SCHEMA, read_items, read_tables
from storage.manifest import Manifest
from storage.names import SetName, parse_set, team_names
from storage.read_plan import ShardRead, by_shard, in_batches
from storage.rewritten import rewriting_told
from storage.sealed import read_sealed
from storage.shard import ShardReader, embedding_bytes, shard_format
from storage.shard_layout import ShardLayout
from storage.space import Space
from storage.store import require_store
from storage.takedown_cache import honour_takedowns
from storage.versions import list_versions, read_manifest, resolve, version_path

SET_FORMAT = 1
DEFAULT_BATCH_BYTES = 16 << 20  # 16 MiB of embeddings a batch, all views of it counted


@dataclass(frozen=True)
class SetDescription:
    """What never changes in a set (`set.json`). `backbone` is the recipe that rebuilds the network; the space is what it must give."""

    space: Space
    shard_format: str
    shape: tuple[int, ...]
    dtype: str
    backbone: Mapping[str, Any]
    created: str
    card: Mapping[str, str] = field(default_factory=dict)

    @property
    def plain(self) -> SetDescription:
        """The same of view 0 alone, which is what heads read and files export."""
        backbone = {name: value for name, value in self.backbone.items() if name not in ("views", "view_seed")}
        return replace(self, space=self.space.plain, backbone=backbone)

    def require_format(self, wanted: str | None, name: SetName) -> None:
        """Raise UsageError if another shard format was asked for than that of the set; None: none was."""
        if wanted not in (None, self.shard_format):
            raise UsageError(f"the shards of {name} are {self.shard_format}, and stay so: leave out --format, or choose another set name")

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": SET_FORMAT,
            **asdict(self),
            "shape": list(self.shape),
            "space": self.space.to_dict(),
            "space_id": self.space.id,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: object) -> SetDescription:
        if value.get("format") != SET_FORMAT:
            raise DamagedError(f"{where}: set format {value.get('format')!r}, this program reads {SET_FORMAT}")
        known = {name: item for name, item in value.items() if name not in ("format", "space_id")}
        try:
            description = cls(**{**known, "space": Space.from_dict(known["space"]), "shape": tuple(known["shape"])})
        except (AttributeError, DamagedError, KeyError, TypeError) as error:
            raise DamagedError(f"{where}: not a valid set description ({type(error).__name__}: {error})") from None
        if description.space.id != value.get("space_id"):
            raise DamagedError(f"{where}: the space id does not match the space described beside it")
        return description


@dataclass(frozen=True)
class Batch:
    """`keys` of n items, their `embeddings` [n, *shape] in the stored dtype ([n, V, *shape] if all V views were asked for), and their
    `positions` [n] in the items table."""

    keys: list[str]
    embeddings: npt.NDArray[np.generic]
    positions: npt.NDArray[np.int64]


@dataclass(frozen=True)
class FeatureSet:
    """One immutable version of a set. Reading needs neither TensorFlow nor Ray nor write access."""

    name: SetName
    description: SetDescription
    manifest: Manifest

    @property
    def space(self) -> Space:
        return self.description.space

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def rows(self) -> int:
        """Items that have an embedding."""
        return self.manifest.counts["rows"]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.description.shape

    @property
    def views(self) -> tuple[str, ...]:
        """What each view of an image is, by number; 0 is the plain image."""
        return self.space.views

    @property
    def embedding_bytes(self) -> int:
        return embedding_bytes(self.shape, self.description.dtype)

    @cached_property
    def items(self) -> pa.Table:
        """All items (key, corpus, digest, stamp, shard, row, label, split, then their attributes), sorted by (corpus, key)."""
        entries = [entry for _, state in sorted(self.manifest.corpora.items()) for entry in state.items]
        with rewriting_told(self.name, self.manifest):
            return read_items(entries, self.name.folder)

    @cached_property
    def rejects(self) -> pa.Table:
        """Items without an embedding: key, corpus, digest, stamp, reason, message."""
        entries = [state.rejects for _, state in sorted(self.manifest.corpora.items()) if state.rejects]
        with rewriting_told(self.name, self.manifest):
            return read_tables(entries, self.name.folder, REJECT_SCHEMA)

    def golden(self) -> GoldenImages:
        with rewriting_told(self.name, self.manifest):
            return read_golden(self.manifest.golden, self.name.folder, self.shape, self.description.dtype)

    def to_numpy(self, view: int | None = 0) -> tuple[list[str], npt.NDArray[np.generic]]:
        """(keys, embeddings [N, *shape] in the stored dtype), in item order. Needs memory for all N.

        view: the number of one; None for all V of them, [N, V, *shape]. Raises UsageError for one that the set has not.
        """
        offset = self._offset(view)
        out = np.empty((self.rows, *np.shape(offset), *self.shape), self.description.dtype)
        names, reads = self._reads()
        for read in reads:
            with closing(self._open_shard(names[read.shard])) as reader:
                out[read.positions] = _rows(reader, read, names[read.shard], offset)
        return self.items["key"].to_pylist(), out

    def to_arrow(self) -> pa.Table:
        """Items joined with view 0 as a fixed-size list column `embedding` (flattened, stored dtype), in item order."""
        _, embeddings = self.to_numpy()
        flat = pa.array(embeddings.reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(self.shape)))
        shape = {b"shape": str(list(self.shape)).encode()}
        return self.items.append_column(pa.field("embedding", column.type, metadata=shape), column)

    def batches(self, batch_size: int | None = None, positions: Sequence[int] | None = None, view: int | None = 0) -> Iterator[Batch]:
        """All items in storage order: each shard is read once, front to back, in memory for one batch.

        batch_size: items a batch (the last may be smaller); None for about 16 MiB of embeddings. Use `to_numpy` for item order.
        positions: of the wanted items in the items table; None for all. view: as in `to_numpy`. The other views are read along.
        """
        offset = self._offset(view)
        size = batch_size if batch_size is not None else max(1, DEFAULT_BATCH_BYTES // (len(self.views) * self.embedding_bytes))
        if size < 1:
            raise ValueError(f"batch_size must be at least 1, got {size}")
        keys = self.items["key"].combine_chunks()
        names, reads = self._reads(positions)
        with ExitStack() as shards:  # one open shard at a time
            shard, reader = -1, None
            for parts in in_batches(reads, size):
                pieces = []
                for part in parts:
                    if reader is None or part.shard != shard:
                        shards.close()
                        shard, reader = part.shard, shards.enter_context(closing(self._open_shard(names[part.shard])))
                    pieces.append(_rows(reader, part, names[part.shard], offset))
                found = np.concatenate([part.positions for part in parts])
                yield Batch(keys.take(pa.array(found)).to_pylist(), np.concatenate(pieces), found)

    def _offset(self, view: int | None) -> int | npt.NDArray[np.int64]:
        """What is added to the row of view 0."""
        if view is None:
            return np.arange(len(self.views))
        if not 0 <= view < len(self.views):
            known = ", ".join(f"{number} {name}" for number, name in enumerate(self.views))
            raise UsageError(f"{self.name.folder} has no view {view}; it has {known}")
        return view

    def _reads(self, positions: Sequence[int] | None = None) -> tuple[list[str], list[ShardRead]]:
        column = self.items["shard"].combine_chunks()
        shards = column.indices.to_numpy().astype(np.int64)
        rows = self.items["row"].to_numpy().astype(np.int64)
        wanted = np.arange(len(rows)) if positions is None else np.asarray(positions, np.int64)
        reads = by_shard(shards[wanted], rows[wanted])
        return column.dictionary.to_pylist(), [replace(read, positions=wanted[read.positions]) for read in reads]

    def _open_shard(self, sha256: str) -> ShardReader:
        entry = next((shard for shard in self.manifest.shards if shard.sha256 == sha256), None)
        if entry is None:
            raise DamagedError(f"{self.name}: an item points at shard {sha256[:12]}, which version {self.version} does not list")
        path = self.name.folder / entry.path
        if (size := size_of(path)) not in (None, entry.bytes):
            raise DamagedError(f"the shard {path} has {size} bytes, the manifest says {entry.bytes}")
        with rewriting_told(self.name, self.manifest):
            reader = open_listed(self.name.folder, entry, shard_format(self.description.shard_format).reader)
        expected = ShardLayout(self.shape, self.description.dtype, self.space.id)
        if reader.layout != expected or reader.rows != entry.rows:
            reader.close()
            raise DamagedError(f"the shard {path} holds {reader.rows} rows of {reader.layout}, expected {entry.rows} of {expected}")
        return reader


def _rows(reader: ShardReader, read: ShardRead, shard: str, offset: int | npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
    """[n, *shape], or [n, V, *shape] for V offsets."""
    start, stop = read.span[0] + int(np.min(offset)), read.span[1] + int(np.max(offset))
    if start < 0 or stop > reader.rows:
        wrong = start if start < 0 else stop - 1
        raise DamagedError(f"an item points at row {wrong} of shard {shard}, which has {reader.rows} rows: its item file is damaged")
    embeddings: npt.NDArray[np.generic] = reader.read(start, stop)[np.add.outer(read.rows - start, offset)]
    return embeddings


def open_set(uri: str | Path | SetName) -> FeatureSet:
    """Open `ROOT/TEAM/SET[@VERSION|@TAG]` for reading; without '@' the newest version.

    Raises UsageError (malformed name), NotFoundError (no such store, set, version or tag), DamagedError.
    """
    name = uri if isinstance(uri, SetName) else parse_set(uri)
    require_store(name.root)
    honour_takedowns(name)
    description = read_description(name)
    versions = list_versions(name.folder)
    if not versions:
        raise NotFoundError(f"the set {name.folder} has no committed version yet: its first extraction is running or was interrupted")
    version = resolve(name, versions)
    manifest = read_manifest(name.folder, version)
    if manifest.space_id != description.space.id:
        raise DamagedError(f"{version_path(name.folder, version)} is of another feature space than the set's set.json")
    return FeatureSet(name, description, manifest)


def read_description(name: SetName) -> SetDescription:
    """The set's `set.json`; NotFoundError lists the sets that are there."""
    path = name.folder / "set.json"
    if not exists(path):
        there = [
            f"{team}/{s}"
            for team in team_names(name.root)
            for s in list_names(name.root / team)
            if exists(name.root / team / s / "set.json")
        ]
        known = f"; the store has {', '.join(there[:10])}" if there else f"; {name.root} holds no feature sets"
        raise NotFoundError(f"no feature set {name.team}/{name.name} in {name.root}{known}")
    return SetDescription.from_dict(read_sealed(path, "set description"), path)
