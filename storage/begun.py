"""A set before its first version: what a run that has not committed, or never will, has begun it with."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pyarrow.parquet as pq

from storage.content_files import files_in
from storage.damage import damage_named
from storage.errors import DamagedError
from storage.feature_set import SetDescription, read_description
from storage.files import exists, open_listed
from storage.golden import GoldenImages, read_golden
from storage.names import SetName


def begun_description(name: SetName) -> SetDescription | None:
    """None where nobody has begun the set."""
    return read_description(name) if exists(name.folder / "set.json") else None


def begun_golden(name: SetName) -> list[GoldenImages]:
    """The golden images that stand in the set, without those that are damaged or of another shape; mostly one, or none."""
    found: list[GoldenImages] = []
    if description := begun_description(name):
        for entry in sorted(files_in(name.folder, "golden"), key=lambda entry: entry.path):
            with suppress(DamagedError), damage_named(name.folder / entry.path, "file"):
                listed = replace(entry, rows=open_listed(name.folder, entry, pq.read_metadata).num_rows)
                found.append(read_golden(listed, name.folder, description.shape, description.dtype))
    return found
