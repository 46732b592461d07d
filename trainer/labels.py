"""Label sets: key -> class (and split), from the items themselves or from a file, joined with the items of a feature set."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from storage.errors import NotFoundError, UsageError

KEY_COLUMNS = ("key", "path")


@dataclass(frozen=True)
class LabelSet:
    """`labels` and `splits` by item key. `source` names it in messages; `digest` is the sha256 of the file, if there is one."""

    labels: Mapping[str, str]
    splits: Mapping[str, str]
    source: str
    digest: str | None = None


@dataclass(frozen=True)
class Joined:
    """The L items that have a label, by position in the items table, and what did not meet."""

    positions: list[int]
    labels: list[str]
    splits: list[str | None]
    unlabelled_items: int
    unmatched_labels: int


def labels_of_items(items: pa.Table, name: str) -> LabelSet:
    """The labels and splits that the items carry, from class folders or a listing. Raises UsageError if none has a label."""
    rows = list(zip(*(items[column].to_pylist() for column in ("key", "label", "split")), strict=True))
    labels = {key: label for key, label, _ in rows if label is not None}
    if not labels:
        raise UsageError(
            f"the items of {name} carry no labels (the corpus had no class folders): pass --labels FILE with columns key,label"
        )
    return LabelSet(labels, {key: split for key, _, split in rows if split is not None}, f"the items of {name}")


def read_labels(path: str | Path) -> LabelSet:
    """Read a CSV with a column `key` (or `path`), a column `label` and perhaps `split`; UTF-8, with a header line.

    Rows without a label count as unlabelled. Raises NotFoundError, or UsageError for missing columns or one key with two labels.
    """
    data = _read(path)
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        return _label_set(reader, str(path), hashlib.sha256(data).hexdigest())
    except UnicodeDecodeError as error:
        raise UsageError(f"the label file {path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise UsageError(f"the label file {path} is not a readable CSV: {error} (an unclosed quote?)") from None


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise NotFoundError(f"no such label file: {path} ({getattr(error, 'strerror', None) or error})") from None


def _label_set(reader: csv.DictReader[str], path: str, digest: str) -> LabelSet:
    columns = reader.fieldnames or []
    key_column = next((name for name in KEY_COLUMNS if name in columns), None)
    if key_column is None or "label" not in columns:
        raise UsageError(f"the label file {path} must have the columns key (or path) and label; it has {', '.join(columns) or 'none'}")
    found: dict[str, dict[str, str]] = {"label": {}, "split": {}}
    for row in reader:
        key = row[key_column]
        if not key:
            raise UsageError(f"the label file {path} has no {key_column} in line {reader.line_num}")
        for column, values in found.items():
            value = (row.get(column) or "").strip()
            if values.get(key, value) != value and value:
                raise UsageError(
                    f"the label file {path} gives {key!r} two {column}s, {values[key]!r} and {value!r} (line {reader.line_num})"
                )
            if value:
                values[key] = value
    return LabelSet(found["label"], found["split"], path, digest)


def join(items: pa.Table, label_set: LabelSet) -> Joined:
    """Match labels with items by key. Raises UsageError, with a key of either side, if nothing matches."""
    keys = items["key"].to_pylist()
    positions = [i for i, key in enumerate(keys) if key in label_set.labels]
    if not positions:
        ours, theirs = (keys or ["(none)"])[0], next(iter(label_set.labels), "(none)")
        raise UsageError(
            f"none of the {len(label_set.labels)} labels in {label_set.source} fits any of the {len(keys)} items: "
            f"the items have keys like {ours!r}, the labels like {theirs!r}. Keys are paths relative to the corpus folder"
        )
    chosen = [keys[i] for i in positions]
    return Joined(
        positions=positions,
        labels=[label_set.labels[key] for key in chosen],
        splits=[label_set.splits.get(key) for key in chosen],
        unlabelled_items=len(keys) - len(positions),
        unmatched_labels=len(label_set.labels.keys() - set(chosen)),
    )
