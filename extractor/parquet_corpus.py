"""Parquet files of encoded images: what their other columns say, without reading an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from extractor.container import Container, open_parquet
from extractor.contents import BadLabels, Contents, name_problem
from extractor.corpus import ITEM_COLUMNS, ListingReject, printable, taken_names
from extractor.parquet_images import IMAGE, ImageColumn, class_names, image_column, images_expected
from extractor.part import row_parts
from storage.damage import damage_named
from storage.errors import DamagedError, UsageError
from storage.table_file import cell_text, label_text

_OWN = (IMAGE, "key", "label", "split")


def holds_images(path: Path) -> bool:
    """Whether a Parquet file holds encoded images; other ones are lists. False for what cannot be read, which the reader of lists tells."""
    try:
        return image_column(pq.read_schema(path)) is not None
    except (pa.ArrowException, OSError):
        return False


def read_parquet(container: Container, name: str, location: str) -> Iterator[Contents]:
    """The images of one file, by row groups: key from the column `key`, else `NAME#ROW`; `label` (ClassLabel numbers by name) and `split`.

    Further columns of one value a row, but for bytes, are attributes, and so is `image.path`. It is no key: whether it is unique may
    change with every file that is added, and with it all keys would. A damaged file, or row group, is lost (`bad-container`). Raises
    UsageError (columns that cannot be attributes), PermafrostError (it cannot be read).
    """
    found = Contents()
    with found.damage_rejected(name, container.stamp), damage_named(name, "Parquet file"):
        file = open_parquet(container)
        schema = file.schema_arrow
        column = image_column(schema)
        if column is None:
            raise DamagedError(f"{name} holds no images: {images_expected(schema)}")
        further, left_out = _further(schema, name)
        found.left_out.update(left_out)
        names = class_names(schema, "label")
        for group, first in enumerate(_first_rows(file)):
            with found.damage_rejected(name, container.stamp), damage_named(f"{group} of {name}", "row group"):
                table = _read_group(file, group, column, further)
                good = _add_rows(found, container, name, location, table, group, first, names)
                attributes = _attributes(table.take(pa.array(good, pa.int64())), column, further)
                found.attributes = {name: attributes[name] for name in attributes.column_names}
            yield found.hand_over()
    yield found


def _further(schema: pa.Schema, location: str) -> tuple[list[str], list[str]]:
    """The columns that become attributes: those of one value a row, without pandas' index. And those that do not: bytes, lists, structs."""
    names = [field.name for field in schema if not _is_no_attribute(field.type)]
    names = [name for name in names if name not in _OWN and not name.startswith("__index_level_")]
    if len(set(schema.names)) != len(schema.names):
        raise UsageError(f"{location} has two columns of one name: {', '.join(schema.names)[:300]}")
    if taken := taken_names(names):
        raise UsageError(f"{location} has columns that a feature set uses itself: {', '.join(taken)}; rename them")
    return names, [field.name for field in schema if field.name not in _OWN and _is_no_attribute(field.type)]


def _is_no_attribute(kind: pa.DataType) -> bool:
    return pa.types.is_nested(kind) or _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _first_rows(file: pq.ParquetFile) -> list[int]:
    """The number of the first row of each row group."""
    rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    return list(accumulate(rows, initial=0))[:-1]


def _read_group(file: pq.ParquetFile, group: int, column: ImageColumn, further: list[str]) -> pa.Table:
    """The columns of a row group but for the images."""
    names = file.schema_arrow.names
    wanted = [own for own in ("key", "label", "split") if own in names] + further + ([column.path] if column.path else [])
    if wanted:
        return file.read_row_group(group, columns=wanted)
    return pa.table({"": pa.nulls(file.metadata.row_group(group).num_rows)})


def _add_rows(
    found: Contents, container: Container, name: str, location: str, table: pa.Table, group: int, first: int, names: Sequence[str] | None
) -> list[int]:
    """Enter the rows of a row group; returns those that are items."""
    n = table.num_rows
    parts = row_parts(group, n)
    stamps = [container.stamp + part for part in parts]
    own_keys = [f"{name}#{row:08d}" for row in range(first, first + n)]
    given = "key" in table.column_names
    keys: list[str | None] = [cell_text(cell) for cell in table["key"].to_pylist()] if given else [*own_keys]
    may_be_bad = given or (n > 0 and name_problem(own_keys[0]))
    good = _good_keys(found, keys, own_keys, stamps, name) if may_be_bad else list(range(n))
    labels = table["label"].to_pylist() if "label" in table.column_names else [None] * n
    splits = table["split"].to_pylist() if "split" in table.column_names else [None] * n
    good_keys = [str(keys[i]) for i in good]
    columns = (
        good_keys,
        [stamps[i] for i in good],
        _labels([labels[i] for i in good], good_keys, names, found.bad_labels),
        [cell_text(splits[i]) for i in good],
        [None] * len(good),
        [location + parts[i] for i in good],
    )
    arrays = [pa.array(values, kind) for values, kind in zip(columns, ITEM_COLUMNS.types, strict=True)]
    found.items = pa.table(arrays, schema=ITEM_COLUMNS)
    return good


def _good_keys(found: Contents, keys: list[str | None], own_keys: list[str], stamps: list[str], name: str) -> list[int]:
    """The rows whose key can be one; the others are rejects."""
    good = []
    for i, key in enumerate(keys):
        if problem := name_problem(key) if key else f"row {int(own_keys[i].rpartition('#')[2])} of {name}, counted from 0, has no key":
            found.rejects.append(ListingReject(printable(key or own_keys[i]), stamps[i], "bad-name", problem))
        else:
            good.append(i)
    return good


def _labels(cells: list[Any], keys: list[str], names: Sequence[str] | None, bad: BadLabels) -> list[str | None]:
    """names: of the classes, where the labels are their numbers. -1 is how Hugging Face says that there is no label."""
    if names is None:
        return [_text_of(cell, key, bad) for key, cell in zip(keys, cells, strict=True)]
    for key, cell in zip(keys, cells, strict=True):
        if isinstance(cell, int) and not -1 <= cell < len(names):
            bad.add(key, f"a label {cell}, of {len(names)} classes")
    classes = {number: cell_text(name) for number, name in enumerate(names)}
    return [classes.get(cell) if isinstance(cell, int) else label_text(cell) for cell in cells]


def _text_of(cell: Any, key: str, bad: BadLabels) -> str | None:
    try:
        return label_text(cell.decode() if isinstance(cell, bytes) else cell)
    except UnicodeDecodeError:
        bad.add(key, "a label of bytes that are no UTF-8 text")
        return None


def _attributes(table: pa.Table, column: ImageColumn, further: list[str]) -> pa.Table:
    columns = {name: table[name] for name in further}
    if column.path:
        columns[column.path] = pa.chunked_array([chunk.flatten()[0] for chunk in table[IMAGE].chunks], pa.string())
    return pa.table(columns)
