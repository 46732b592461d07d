"""A version of a set as one flat file: key, attributes, digest and embedding in one row an item, for people who want just a file.

Rows come in storage order, so that each shard is read once and a batch is all that is in memory beside the items. Where a label or
another attribute is missing, Parquet has a null; HDF5 and npz, which have none, the empty string.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from storage.damage import damage_named
from storage.errors import AlreadyExistsError, NotFoundError, UsageError
from storage.feature_set import FeatureSet
from storage.files import open_proven, private_file, publish_as
from storage.hdf5_file import create_file
from storage.origin import ORIGIN_KEY, Origin, origin_of
from storage.shard_layout import ShardLayout
from storage.table_file import cell_text

LAYOUTS = ("binary", "list")
NPZ_NAMES = {"key": "keys", "corpus": "corpora", "label": "labels", "split": "splits", "digest": "digests", "embedding": "embeddings"}
BATCH_BYTES = 4 << 20  # 4 MiB: a row group, a chunk
_FIRST = ["key", "corpus", "label", "split", "digest"]
_INTERNAL = {"stamp", "shard", "row"}  # mean nothing outside the store
TEXTS_AT_ONCE = 1 << 16
LONGEST_NAME = 10_000  # characters of an attribute, in other files than Parquet: a zip has room for 65,535 bytes


@dataclass(frozen=True)
class Exported:
    path: Path
    version: int
    rows: int
    bytes: int


class _Target(Protocol):
    """A file under construction. `add` takes the attributes of n items and their embeddings [n, *shape]."""

    def add(self, attributes: pa.Table, embeddings: npt.NDArray[np.generic]) -> None: ...

    def close(self) -> None: ...


def export_set(feature_set: FeatureSet, path: Path, layout: str = "binary", force: bool = False) -> Exported:
    """Write one version of a set to `path`: Parquet, HDF5 or npz by its ending (.parquet, .h5, .npz). Readers see all of it or nothing.

    layout: of the embeddings in Parquet: `binary` (one fixed-length value, little-endian, C order; shape and dtype in the schema
    metadata) or `list` (fixed-size lists of float32, flattened). force: replace a file that is there.

    Raises UsageError, NotFoundError (no such folder), AlreadyExistsError, DamagedError (of the set), OSError (of the disk).
    """
    make = _target_of(path, layout)
    _require_free(path, force)
    attributes, origin = _attributes(feature_set), origin_of(feature_set)
    if path.suffix != ".parquet":
        _require_names(attributes.column_names, path)
        attributes = _without_nulls(attributes)
    for shard in feature_set.manifest.shards:  # what leaves the store is trusted elsewhere, and may come back by an import
        with damage_named(feature_set.name.folder / shard.path, "shard"):
            open_proven(feature_set.name.folder, shard, lambda path: None)
    batch_size = max(1, min(BATCH_BYTES // feature_set.embedding_bytes, feature_set.rows))
    with private_file(path.parent) as partial:
        target = make(partial, attributes, origin, batch_size)
        try:
            for batch in feature_set.batches(batch_size):
                target.add(attributes.take(pa.array(batch.positions)), batch.embeddings)
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                target.close()
            raise
        target.close()
        size = partial.stat().st_size
        publish_as(partial, path)
    return Exported(path, feature_set.version, feature_set.rows, size)


def _target_of(path: Path, layout: str) -> Callable[[Path, pa.Table, Origin, int], _Target]:
    if layout not in LAYOUTS:
        raise UsageError(f"--layout must be one of {', '.join(LAYOUTS)}; got {layout!r}")
    if path.suffix == ".parquet":
        return _ListParquet if layout == "list" else _BinaryParquet
    if layout != "binary":
        raise UsageError(f"--layout {layout} is for .parquet files; {path.name} holds arrays, which are numbers anyway")
    if path.suffix not in (".h5", ".npz"):
        raise UsageError(f"{path}: expected a file that ends in .parquet, .h5 or .npz, got {path.suffix or 'no ending'}")
    return _Hdf5 if path.suffix == ".h5" else _Npz


def _require_free(path: Path, force: bool) -> None:
    if not path.parent.is_dir():
        raise NotFoundError(f"no such folder: {path.parent}")
    if path.is_dir():
        raise AlreadyExistsError(f"{path} is a folder: name a file in it")
    if path.exists() and not force:
        raise AlreadyExistsError(f"{path} exists already: pass --force to replace it, or choose another name")


def _attributes(feature_set: FeatureSet) -> pa.Table:
    """Every column of the items but the store's own, without dictionaries; the well-known ones first."""
    names = [name for name in feature_set.items.column_names if name not in _INTERNAL]
    table = feature_set.items.select(sorted(names, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST)))
    plain = [pa.field(field.name, pa.string() if _is_text(field.type) else field.type, field.nullable) for field in table.schema]
    return table.cast(pa.schema(plain))


class _BinaryParquet:
    def __init__(self, path: Path, attributes: pa.Table, origin: Origin, batch_size: int) -> None:
        embedding = pa.field("embedding", self._type(origin), nullable=False)
        self._schema = pa.schema([*attributes.schema, embedding], metadata={ORIGIN_KEY: origin.to_json()})
        # As in shards: embeddings and digests are as good as random, so only the attributes are worth compressing.
        texts = [name for name in attributes.column_names if name != "digest"]
        compression = {name: "zstd" if name in texts else "none" for name in self._schema.names}
        if pa.types.is_fixed_size_list(embedding.type):
            compression["embedding.list.element"] = compression.pop("embedding")
        self._writer = pq.ParquetWriter(path, self._schema, compression=compression, use_dictionary=texts, write_statistics=texts)

    def add(self, attributes: pa.Table, embeddings: npt.NDArray[np.generic]) -> None:
        column = self._column(embeddings, self._schema.field("embedding").type)
        self._writer.write_table(pa.table([*attributes.columns, column], schema=self._schema), row_group_size=len(embeddings))

    def close(self) -> None:
        self._writer.close()

    def _type(self, origin: Origin) -> pa.DataType:
        return pa.binary(ShardLayout(origin.shape, origin.dtype, origin.space.id).embedding_bytes)

    def _column(self, embeddings: npt.NDArray[np.generic], kind: pa.DataType) -> pa.Array:
        little = embeddings.astype(embeddings.dtype.newbyteorder("<"), copy=False)
        return pa.FixedSizeBinaryArray.from_buffers(kind, len(embeddings), [None, pa.py_buffer(little.tobytes())])


class _ListParquet(_BinaryParquet):
    def _type(self, origin: Origin) -> pa.DataType:
        return pa.list_(pa.float32(), int(np.prod(origin.shape)))

    def _column(self, embeddings: npt.NDArray[np.generic], kind: pa.DataType) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1).astype(np.float32)), type=kind)


class _Hdf5:
    def __init__(self, path: Path, attributes: pa.Table, origin: Origin, batch_size: int) -> None:
        self._chunk_rows, self._rows = batch_size, 0
        self._file = create_file(path)
        self._file.set_attribute(ORIGIN_KEY, origin.to_json())
        for name, column in zip(attributes.column_names, attributes.columns, strict=True):
            if pa.types.is_string(column.type):
                self._file.create_texts(name, batch_size)
            else:
                values = _numbers(column.slice(0, 0))
                self._file.create_dataset(name, values.dtype, values.shape[1:], batch_size)
        self._file.create_dataset("embedding", np.dtype(origin.dtype).newbyteorder("<"), origin.shape, batch_size)

    def add(self, attributes: pa.Table, embeddings: npt.NDArray[np.generic]) -> None:
        for name, column in zip(attributes.column_names, attributes.columns, strict=True):
            if pa.types.is_string(column.type):
                self._file.append_texts(name, column.to_pylist())
            else:
                self._file.write_chunk(name, self._rows, _numbers(column), self._chunk_rows)
        self._file.write_chunk("embedding", self._rows, embeddings, self._chunk_rows)
        self._rows += len(embeddings)

    def close(self) -> None:
        self._file.close()


class _Npz:
    """Members of a zip are written one after the other: embeddings batch by batch, then the attributes, which are at hand anyway."""

    def __init__(self, path: Path, attributes: pa.Table, origin: Origin, batch_size: int) -> None:
        self._zip = zipfile.ZipFile(path, "w")
        self._parts = [attributes.slice(0, 0)]
        self._note = np.array(origin.to_json().decode())
        shape = (attributes.num_rows, *origin.shape)
        self._embeddings = self._member(NPZ_NAMES["embedding"], np.dtype(origin.dtype).newbyteorder("<"), shape)

    def add(self, attributes: pa.Table, embeddings: npt.NDArray[np.generic]) -> None:
        self._parts.append(attributes)
        self._embeddings.write(embeddings.tobytes())

    def close(self) -> None:
        with self._zip:
            self._embeddings.close()
            table = pa.concat_tables(self._parts)
            for name, column in zip(table.column_names, table.columns, strict=True):
                self._write_column(NPZ_NAMES.get(name, name), column)
            with self._member(ORIGIN_KEY, self._note.dtype, ()) as member:
                member.write(self._note.tobytes())

    def _write_column(self, name: str, column: pa.ChunkedArray) -> None:
        if not pa.types.is_string(column.type):
            values = _numbers(column)
            with self._member(name, values.dtype, values.shape) as member:
                member.write(values.tobytes())
            return
        dtype = np.dtype(f"<U{max(1, pa.compute.max(pa.compute.utf8_length(column)).as_py() or 1)}")
        with self._member(name, dtype, (len(column),)) as member:
            for start in range(0, len(column), TEXTS_AT_ONCE):  # four bytes a character, of the longest: not all at once
                member.write(np.array(column.slice(start, TEXTS_AT_ONCE).to_pylist(), dtype).tobytes())

    def _member(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> IO[bytes]:
        """An open .npy member with its header written. Its date is that of all zips without one: the bytes depend on the content alone."""
        member = self._zip.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        return member


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))


def _without_nulls(attributes: pa.Table) -> pa.Table:
    """Numbers, truth values and digests as they are, and floats with NaN for null; everything else, and integers with gaps, as text."""
    return pa.table([_without_null(column) for column in attributes.columns], names=attributes.column_names)


def _without_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_floating(kind):
        return column.fill_null(float("nan"))
    if not column.null_count and (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_fixed_size_binary(kind)):
        return column
    if pa.types.is_string(kind):
        return column.fill_null("")
    return pa.chunked_array([pa.array([cell_text(value) or "" for value in column.to_pylist()], pa.string())])


def _require_names(names: Sequence[str], path: Path) -> None:
    """Raise UsageError for attributes that such a file could not hold beside what it holds anyway."""
    taken = {*NPZ_NAMES.values(), ORIGIN_KEY} if path.suffix == ".npz" else {ORIGIN_KEY}
    for name in names:
        if name not in NPZ_NAMES and (name in taken or not name or name == "." or "/" in name or "\0" in name or len(name) > LONGEST_NAME):
            raise UsageError(
                f"{path.name} cannot hold the attribute {name[:LONGEST_NAME]!r} beside the embeddings: export to .parquet instead"
            )


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """[n] numbers, or [n, 32] bytes of digests."""
    if not pa.types.is_fixed_size_binary(column.type):
        return np.asarray(column.to_numpy())
    width = column.type.byte_width
    return np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(-1, width)
