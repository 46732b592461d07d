"""Which column of a Parquet file holds encoded images: a struct `image` with `bytes` (and `path`), as Hugging Face's datasets write it, or
a binary column `image`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

IMAGE = "image"


@dataclass(frozen=True)
class ImageColumn:
    """Names to read, as Arrow's column projection takes them."""

    bytes: str
    path: str | None = None


def image_column(schema: pa.Schema) -> ImageColumn | None:
    if IMAGE not in schema.names:
        return None
    kind = schema.field(schema.names.index(IMAGE)).type
    if _is_binary(kind):
        return ImageColumn(IMAGE)
    if not pa.types.is_struct(kind):
        return None
    fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
    if not _is_binary(fields.get("bytes")):
        return None
    return ImageColumn(f"{IMAGE}.bytes", f"{IMAGE}.path" if pa.types.is_string(fields.get("path", pa.null())) else None)


def images_expected(schema: pa.Schema) -> str:
    """What `image_column` wants, and what there is instead."""
    there = ", ".join(f"{field.name} ({field.type})" if field.name == IMAGE else field.name for field in schema)
    return f"expected a column {IMAGE}, binary or a struct with bytes; it has {there[:300]}"


def class_names(schema: pa.Schema, column: str) -> Sequence[str] | None:
    """The names of a ClassLabel column, from the schema's metadata."""
    try:
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _is_binary(kind: pa.DataType | None) -> bool:
    return kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
