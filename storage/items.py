"""Item files: what is known of each item of a corpus, apart from its embedding.

Names and labels change, features do not: a rename, a new label or a duplicate rewrites an item file and never an embedding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq

from storage.common_types import common_schema, fitting, with_texts
from storage.damage import MEND_LISTED, damage_named
from storage.errors import DamagedError, UsageError
from storage.files import FileEntry, open_listed, open_proven, private_file, publish_by_content, size_of
from storage.item_borders import in_files
from storage.patience import full_disk_told
from storage.place import Place

ROWS_PER_GROUP = 1 << 13  # what finding a key reads; 1 << 14 takes twice the time and 1% fewer bytes
REJECTS_PER_GROUP = 1 << 17  # what writing holds in memory
READ_ROWS = 1 << 16
_DICTIONARY = pa.dictionary(pa.int32(), pa.string())

ITEM_FIELDS = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("corpus", _DICTIONARY, nullable=False),
    pa.field("digest", pa.binary(32), nullable=False),
    pa.field("stamp", pa.string(), nullable=False),
    pa.field("shard", _DICTIONARY, nullable=False),  # sha256 of the shard that holds the embedding
    pa.field("row", pa.int32(), nullable=False),  # row of view 0 there; the image's other views follow it
    pa.field("label", pa.string()),
    pa.field("split", pa.string()),
]
ITEM_SCHEMA = pa.schema(ITEM_FIELDS)
# What an attribute cannot be called: the columns of items, and what a joined table has beside them.
RESERVED_COLUMNS = frozenset({*ITEM_SCHEMA.names, "embedding", "view"})

REJECT_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("digest", pa.binary(32)),  # null where the bytes could not be read
        pa.field("stamp", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ]
)


def write_items(tables: Iterable[pa.Table], set_folder: Place, listed: Collection[str] = ()) -> tuple[FileEntry, ...]:
    """Write items, which come sorted by (corpus, key), as content-named files below `items/`, cut where `storage.item_borders` says.

    tables: of one schema: the columns of ITEM_SCHEMA, then any number of attributes of any type. What is in a file depends on the rows
    only, not on where one table ends. listed: sha256 of files that the version before lists; such a one is not published again, which
    in a bucket spares its upload. Memory: the rows of one file.
    """
    # In the file Parquet's own dictionary encoding does the work of dictionaries.
    plain = [pa.field(f.name, pa.string(), f.nullable) if pa.types.is_dictionary(f.type) else f for f in ITEM_FIELDS]
    cast = (table.cast(pa.schema([*plain, *_attribute_fields(table.schema)])) for table in tables)
    return tuple(_write(_row_groups(table), set_folder, "items", table.schema, ROWS_PER_GROUP, listed) for table in in_files(cast))


def write_rejects(tables: Iterable[pa.Table], set_folder: Place) -> FileEntry | None:
    """Write rejects (REJECT_SCHEMA) as one content-named file below `rejects/`; None, and no file, if there are none."""
    groups = _in_groups(tables)
    first = next(groups, None)
    return _write(chain([first], groups), set_folder, "rejects", REJECT_SCHEMA, REJECTS_PER_GROUP) if first else None


def write_table(table: pa.Table, set_folder: Place, folder: str) -> FileEntry:
    """Write one table as a content-named Parquet file in `folder` of the set."""
    return _write([table], set_folder, folder, table.schema, REJECTS_PER_GROUP)


def sorted_items(table: pa.Table) -> pa.Table:
    """Items as `write_items` takes them. Needs memory for all of them, twice."""
    plain = [pa.field(f.name, pa.string()) if pa.types.is_dictionary(f.type) else f for f in table.schema]  # Arrow sorts no dictionaries
    return table.cast(pa.schema(plain)).sort_by([("corpus", "ascending"), ("key", "ascending")])


def _row_groups(table: pa.Table) -> Iterator[pa.Table]:
    """In one piece each, because Arrow begins pages where the pieces of a table end."""
    return (table.slice(start, ROWS_PER_GROUP).combine_chunks() for start in range(0, table.num_rows, ROWS_PER_GROUP))


def _attribute_fields(schema: pa.Schema) -> list[pa.Field]:
    return [field for field in schema if field.name not in ITEM_SCHEMA.names]


def _in_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of REJECTS_PER_GROUP; the last one may have fewer, but has some."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        if rows >= REJECTS_PER_GROUP:
            whole = pa.concat_tables(waiting)
            last = rows - rows % REJECTS_PER_GROUP
            yield from (whole.slice(start, REJECTS_PER_GROUP) for start in range(0, last, REJECTS_PER_GROUP))
            waiting, rows = [whole.slice(last)], rows - last
    if rows:
        yield pa.concat_tables(waiting)


def _write(
    tables: Iterable[pa.Table], set_folder: Place, folder: str, schema: pa.Schema, group_rows: int, listed: Collection[str] = ()
) -> FileEntry:
    rows = 0
    with full_disk_told(set_folder), private_file(set_folder / folder) as partial:
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table, group_rows)
                rows += table.num_rows
        sha256, size = publish_by_content(partial, set_folder / folder, ".parquet", listed)
    return FileEntry(f"{folder}/{sha256}.parquet", sha256, size, rows)


def read_items(entries: Sequence[FileEntry], set_folder: Place, columns: Sequence[str] | None = None) -> pa.Table:
    """Read item files into one table: ITEM_SCHEMA, then the attributes of any of them, null where a file has none of that name.

    columns: those to read, in their order; None for all, and then each file is proven by its sha256 first. An attribute that has
    different types in two files, such as those of two corpora, comes as text. Raises DamagedError, UsageError for a column that no file
    has.
    """
    # Of attributes alone a column of items comes along: a file that has none of them has its rows all the same.
    own = ITEM_SCHEMA if columns is None else pa.schema([f for f in ITEM_FIELDS if f.name in columns] or [ITEM_SCHEMA.field("row")])
    further = None if columns is None else set(columns) - set(own.names)
    tables = [_read(entry, set_folder, own, further, proven=columns is None) for entry in entries]
    missing = set(further or ()).difference(*(table.column_names for table in tables))
    if missing:
        schemas = [open_listed(set_folder, entry, partial(pq.read_schema, memory_map=True)) for entry in entries]
        require_columns(columns or (), dict.fromkeys([*ITEM_SCHEMA.names, *(name for schema in schemas for name in schema.names)]))
    return joined_items(tables or [own.empty_table()], columns)


def require_columns(names: Iterable[str], there: Iterable[str]) -> None:
    known = dict.fromkeys(there)
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"no item has a column {unknown[0]!r}; there are {', '.join(known)}")


def joined_items(tables: Sequence[pa.Table], columns: Sequence[str] | None) -> pa.Table:
    """Tables of one or several item files as one, with these columns."""
    schema = fitting(common_schema(table.schema for table in tables), tables)
    whole = pa.concat_tables([with_texts(table, schema) for table in tables], promote_options="permissive")
    own = [name for name in ITEM_SCHEMA.names if name in whole.column_names]
    names = [*own, *(name for name in whole.column_names if name not in own)] if columns is None else columns
    return whole.select(names).unify_dictionaries()


def read_tables(
    entries: Sequence[FileEntry], set_folder: Place, schema: pa.Schema, proven: bool = True, further: Collection[str] = ()
) -> pa.Table:
    """Read these columns of listed Parquet files into one table.

    proven: whether a file is compared with its sha256 first, which costs 46 ms a million items. further: columns of files that have them.
    Raises DamagedError for one that is
    missing, resized, unreadable or not what its sha256 says.
    """
    tables = [_read(entry, set_folder, schema, further, proven=proven) for entry in entries]
    return pa.concat_tables(tables).unify_dictionaries() if tables else schema.empty_table()


def read_in_blocks(entry: FileEntry, set_folder: Place, schema: pa.Schema, attributes: bool = False) -> Iterator[pa.Table]:
    """The columns of `schema` of one listed Parquet file, and perhaps all attributes, READ_ROWS rows at a time. Raises DamagedError.

    The file is proven by its sha256 first.
    """
    path = set_folder / entry.path
    rows = 0
    with damage_named(path, "file"):
        with open_items(entry, set_folder, schema, proven=True) as file:
            wanted = pa.schema([*schema, *(_attribute_fields(file.schema_arrow) if attributes else ())])
            for batch in file.iter_batches(READ_ROWS, columns=wanted.names):
                rows += batch.num_rows
                yield pa.Table.from_batches([batch]).select(wanted.names).cast(wanted)
        if rows != entry.rows:
            raise DamagedError(f"{path} has {rows} rows, the manifest says {entry.rows}")


def _read(entry: FileEntry, set_folder: Place, schema: pa.Schema, attributes: Collection[str] | None = (), *, proven: bool) -> pa.Table:
    """The columns of `schema`, then those attributes that the file has; None: all it has."""
    path = set_folder / entry.path
    with damage_named(path, "file"):
        if (size := size_of(path)) not in (None, entry.bytes):
            raise DamagedError(f"{path} has {size} bytes, the manifest says {entry.bytes}. {MEND_LISTED}")
        with open_items(entry, set_folder, schema, proven) as file:
            there = file.schema_arrow.names
            further = [name for name in there if name not in ITEM_SCHEMA.names and (attributes is None or name in attributes)]
            table = file.read([*schema.names, *further]).select([*schema.names, *further])
        table = table.cast(pa.schema([*schema, *(table.schema.field(name) for name in further)]))
        table.validate()
        if table.num_rows != entry.rows:
            raise DamagedError(f"{path} has {table.num_rows} rows, the manifest says {entry.rows}")
        return table


def open_items(entry: FileEntry, set_folder: Place, schema: pa.Schema, proven: bool = False) -> pq.ParquetFile:
    """A listed Parquet file, to read columns of `schema` from: what repeats in it comes as dictionaries. Use within `damage_named`."""
    repeated = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    return (open_proven if proven else open_listed)(set_folder, entry, partial(pq.ParquetFile, memory_map=True, read_dictionary=repeated))
