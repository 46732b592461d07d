"""One type for a column that has different ones in different tables: numbers are widened, kinds that do not go together become text."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from storage.table_file import cell_text

_NOT_COMMON = (pa.ArrowTypeError, pa.ArrowInvalid)


def common_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """All columns of any of them; integers and floats of different widths become the widest, several kinds of things text."""
    distinct = list(dict.fromkeys(schema.remove_metadata() for schema in schemas))
    try:
        return pa.unify_schemas(distinct, promote_options="permissive")
    except _NOT_COMMON:
        columns: dict[str, list[pa.Schema]] = {}
        for field in (field for schema in distinct for field in schema):
            columns.setdefault(field.name, []).append(pa.schema([field]))
        return pa.schema([_common_field(of_one) for of_one in columns.values()])


def fitting(schema: pa.Schema, tables: Iterable[pa.Table]) -> pa.Schema:
    """The same, with text for each column that has a value which its type does not hold: of integers and floats 2**53 + 1, say."""
    for table in tables:
        there = set(table.column_names)
        for number, field in enumerate(schema):
            if field.name in there and not _holds(field.type, table[field.name]):
                schema = schema.set(number, pa.field(field.name, pa.string()))
    return schema


def with_texts(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with those columns as text that are text in the schema; what remains, `pyarrow.concat_tables` promotes."""
    for number, field in enumerate(table.schema):
        if pa.types.is_string(schema.field(field.name).type) and not pa.types.is_string(field.type):
            table = table.set_column(number, field.name, _as_text(table.column(number)))
    return table


def _common_field(schemas: list[pa.Schema]) -> pa.Field:
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0)
    except _NOT_COMMON:
        return pa.field(schemas[0].names[0], pa.string())


def _holds(kind: pa.DataType, column: pa.ChunkedArray) -> bool:
    if column.type == kind or pa.types.is_string(kind):
        return True
    try:
        column.cast(kind)
    except _NOT_COMMON:
        return False
    return True


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_temporal(column.type):  # Python's times have no nanoseconds
        return column.cast(pa.string())
    return pa.chunked_array(
        [pa.array([cell_text(cell) for cell in chunk.to_pylist()], pa.string()) for chunk in column.chunks], pa.string()
    )
