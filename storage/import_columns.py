"""The columns of an import beside keys and embeddings: label, split and digest, and those that become attributes of the items."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from storage.errors import UsageError
from storage.flat_file import FlatFile
from storage.items import RESERVED_COLUMNS

_OWN = frozenset({"label", "split", "digest", "corpus"})


def own_column(flat: FlatFile, name: str) -> list[Any]:
    """Values of label, split, digest or corpus, None where the file has no such column. Raises UsageError if it is not one value a row."""
    if name not in flat.further:
        return [None] * flat.rows
    if flat.further[name] is None:
        raise UsageError(f"{flat.path}: {name} should be a text or number for each of the {flat.rows} rows")
    values: list[Any] = flat.column(name).to_pylist()
    return values


def attribute_names(flat: FlatFile) -> tuple[list[str], list[str]]:
    """(columns that become attributes, columns that are left out).

    Left out are names that a set uses itself, empty ones, and what is no short value a row: images, further embeddings.
    """
    others = [name for name in flat.further if name not in _OWN]
    kept = {name: _is_name(name) and _is_attribute(flat.further[name]) for name in others}
    return [name for name in others if kept[name]], [name for name in others if not kept[name]]


def read_attributes(flat: FlatFile, names: list[str]) -> pa.Table:
    """The named columns, row i of row i of the file."""
    columns = {name: flat.column(name) for name in names}
    return pa.table(columns) if columns else pa.table({"": pa.nulls(flat.rows)}).select([])


def _is_name(name: str) -> bool:
    return bool(name) and name not in RESERVED_COLUMNS


def _is_attribute(kind: pa.DataType | None) -> bool:
    if kind is None:
        return False
    if pa.types.is_dictionary(kind):
        return _is_attribute(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):  # of texts, say; lists of floats are another embedding
        return _is_attribute(kind.value_type) and not pa.types.is_floating(kind.value_type)
    return not (
        pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    )
