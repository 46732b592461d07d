"""Label sets: item -> class or classes (and split), from the items themselves or from a file, to be joined with those of a feature set.

A label is a tuple of class names: of one, or with --multi-label of any number. A million of them are arrays (`label_column`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from storage.errors import UsageError
from storage.feature_set import FeatureSet
from storage.table_file import SEPARATOR
from trainer.arrays import Numbers
from trainer.given_splits import GivenSplits
from trainer.label_column import Label, Rows
from trainer.label_files import LabelFile, read_label_file
from trainer.label_join import Joined, join
from trainer.label_keys import ItemOrder, Keys
from trainer.label_options import DIGEST, KEY, LabelOptions
from trainer.label_report import LabelReport
from trainer.label_set import LabelSet
from trainer.label_values import CellError, parse_labels, parse_texts

__all__ = ["Joined", "Label", "LabelOptions", "LabelReport", "LabelSet", "join", "labels_for", "labels_of_items", "read_labels"]


def labels_for(
    feature_set: FeatureSet, path: str | Path | None, multi_label: bool = False, options: LabelOptions | None = None
) -> LabelSet:
    """The label set in a file, or (None) the one that the items carry."""
    options = options or LabelOptions()
    if path is not None:
        if not str(path):
            raise UsageError("the label file is an empty text: name a file, or pass None for the labels that the items carry")
        return read_labels(path, multi_label, options)
    if options.join_by:
        raise UsageError(f"labels are joined by {options.join_by} from a file only: pass --labels FILE, or leave this out")
    return labels_of_items(feature_set.items, str(feature_set.name), multi_label, options)


def labels_of_items(items: pa.Table, name: str, multi_label: bool = False, options: LabelOptions | None = None) -> LabelSet:
    """The labels and splits that the items carry, from class folders or a listing. Raises UsageError if none has a label."""
    labels, labelled = parse_labels(items["label"], multi_label)
    if not labelled.any():
        raise UsageError(
            f"the items of {name} carry no labels (the corpus had no class folders): pass --labels FILE with columns key,label"
        )
    splits = _given(items["split"], lambda row: f"the item {items['key'][row].as_py()} of {name}")
    with_label, with_split = np.flatnonzero(labelled), np.flatnonzero(splits.codes >= 0)
    return LabelSet(
        keys=ItemOrder(items),
        corpora=(),
        label_ids=with_label,
        labels=labels.take(with_label),
        split_ids=with_split,
        splits=splits.take(with_split),
        source=f"the items of {name}",
        multi_label=multi_label,
        options=options or LabelOptions(),
    )


def read_labels(path: str | Path, multi_label: bool = False, options: LabelOptions | None = None) -> LabelSet:
    """Read a CSV, JSONL or Parquet file with a column `key` (or `path`) or `digest`, a column `label`, perhaps `split` and `corpus`.

    A digest is the sha256 of an image's bytes, in hex; all items of the image get its label, in whatever corpus. Rows without a label
    count as unlabelled. Raises NotFoundError, or UsageError for missing columns, one key with two labels, a list of labels without
    `multi_label`, and values that are no label.
    """
    options = options or LabelOptions()
    file = read_label_file(path, options.join_by)
    try:
        return _label_set(file, multi_label, options)
    except CellError as error:
        raise UsageError(f"the label file {path}, row {error.row + 1}: {error}") from None


def _label_set(file: LabelFile, multi_label: bool, options: LabelOptions) -> LabelSet:
    keys, numbers = file.keys()
    by_digest = file.column == DIGEST
    corpora: tuple[str, ...] = ()
    if "corpus" in file.table.column_names and not by_digest:
        corpora, of_row = parse_texts(file.table["corpus"])
        numbers = numbers + len(keys) * (of_row + 1)
    labels, labelled = parse_labels(file.table["label"], multi_label)
    rows = np.flatnonzero(labelled)
    kept = _first_of_each(numbers[rows])
    if len(torn := np.flatnonzero(~labels.same(rows, rows[kept]))):
        old, new = (SEPARATOR.join(labels.label(row)) for row in (rows[kept][torn[0]], rows[torn[0]]))
        raise _two(keys, numbers, rows[torn[0]], "label", old, new)
    with_label = rows[kept == np.arange(len(rows))]
    splits = _splits_of(file, keys, numbers)
    return LabelSet(
        keys=keys,
        corpora=corpora,
        label_ids=numbers[with_label],
        labels=labels.take(with_label),
        split_ids=numbers[splits.rows],
        splits=splits.given,
        source=file.path,
        digest=file.digest,
        joined_by=DIGEST if by_digest else KEY,
        multi_label=multi_label,
        options=options,
    )


class _Splits(NamedTuple):
    rows: Rows
    given: GivenSplits


def _splits_of(file: LabelFile, keys: Keys, numbers: Numbers) -> _Splits:
    """The rows that have a split, each key once."""
    if "split" not in file.table.column_names:
        return _Splits(np.zeros(0, np.int64), GivenSplits((), np.zeros(0, np.int64)))
    given = _given(file.table["split"], lambda row: f"the label file {file.path}, row {row + 1}")
    rows = np.flatnonzero(given.codes >= 0)
    kept = _first_of_each(numbers[rows])
    if len(torn := np.flatnonzero(given.codes[rows] != given.codes[rows][kept])):
        old, new = (given.names[given.codes[row]] for row in (rows[kept][torn[0]], rows[torn[0]]))
        raise _two(keys, numbers, rows[torn[0]], "split", old, new)
    rows = rows[kept == np.arange(len(rows))]
    return _Splits(rows, given.take(rows))


def _given(column: pa.ChunkedArray, place: Callable[[int], str]) -> GivenSplits:
    """The splits of n cells; place: of a row, in words."""
    names, codes = parse_texts(column)
    _, rows = np.unique(codes[codes >= 0], return_index=True)
    return GivenSplits(names, codes, tuple(place(int(row)) for row in np.flatnonzero(codes >= 0)[rows]))


def _two(keys: Keys, numbers: Numbers, row: np.int64, column: str, old: str, new: str) -> CellError:
    return CellError(f"{keys.show(int(numbers[row]) % len(keys))!r} has two {column}s, {old!r} and {new!r}", int(row))


def _first_of_each(numbers: Numbers) -> Rows:
    """For each place the first place that holds the same number."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    starts = np.ones(len(numbers), bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    first = np.empty(len(numbers), np.int64)
    first[order] = order[np.flatnonzero(starts)][np.cumsum(starts) - 1] if len(numbers) else 0
    return first
