"""Looking for what must not be left: in the bytes of files, and in the values of the tables that are compressed in them."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.files import exists, list_names, read_bytes
from storage.place import Place


def traces(folder: Place, embeddings: list[bytes] = [], keys: list[str] = []) -> list[str]:  # noqa: B006 - never changed
    """Files below the folder that hold the bytes of an embedding, or a key as a whole value."""
    found = []
    for place in _files(folder):
        data = read_bytes(place)
        values = set(_values(place, data))
        in_tables = {value for value in values if isinstance(value, bytes)}
        if any(each in data or any(each in value for value in in_tables) for each in embeddings) or values & set(keys):
            found.append(str(place))
    return sorted(found)


def _files(folder: Place) -> Iterator[Place]:
    if isinstance(folder, Path):  # also private ones
        yield from (path for path in folder.rglob("*") if path.is_file())
        return
    for name in list_names(folder):
        if exists(folder / name):
            yield folder / name
        else:
            yield from _files(folder / name)


def _values(place: Place, data: bytes) -> Iterator[str | bytes]:
    if place.name.endswith(".parquet"):
        table = pq.read_table(pa.BufferReader(data))
        for column in table.columns:
            plain = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
            if pa.types.is_string(plain.type) or pa.types.is_binary(plain.type) or pa.types.is_fixed_size_binary(plain.type):
                yield from (value for value in plain.to_pylist() if value is not None)
        yield from _texts(json.loads((table.schema.metadata or {}).get(b"permafrost", b"{}")))
        statistics = pq.ParquetFile(pa.BufferReader(data)).metadata
        for group in range(statistics.num_row_groups):
            for number in range(statistics.num_columns):
                bounds = statistics.row_group(group).column(number).statistics
                if bounds is not None and bounds.has_min_max:
                    yield from (value for value in (bounds.min, bounds.max) if isinstance(value, str))
    elif place.name.endswith(".json"):
        yield from _texts(json.loads(data))
    elif place.name.endswith(".html"):
        yield from (html.unescape(piece.partition(">")[2]) for piece in data.decode().split("<"))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
