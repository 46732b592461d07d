"""Label sets: item -> class or classes (and split), from the items themselves or from a file, joined with the items of a feature set.

A label is a tuple of class names: of one, or with --multi-label of any number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.errors import UsageError
from storage.feature_set import FeatureSet
from storage.table_file import SEPARATOR, cell_text
from trainer.label_files import LabelFile, read_label_file

EXAMPLES = 3  # shown of what did not meet

ItemKey = tuple[str | None, str]  # corpus (None: any) and key
Label = tuple[str, ...]


@dataclass(frozen=True)
class LabelSet:
    """`labels` and `splits` by item. `source` names it in messages; `digest` is the sha256 of the file, if there is one."""

    labels: Mapping[ItemKey, Label]
    splits: Mapping[ItemKey, str]
    source: str
    digest: str | None = None


@dataclass(frozen=True)
class Unmet:
    """How many found no partner, and the first few of them."""

    count: int = 0
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, keys: Iterable[ItemKey]) -> Unmet:
        found = [f"{key} (corpus {corpus})" if corpus else key for corpus, key in keys]
        return cls(len(found), tuple(found[:EXAMPLES]))

    def __str__(self) -> str:
        return f"such as {', '.join(self.examples)}"


@dataclass(frozen=True)
class LabelReport:
    """Where labels came from and what did not meet. `shared`: labels without corpus whose key occurs in several corpora."""

    source: str
    digest: str | None = None
    unmatched: Unmet = field(default_factory=Unmet)
    unlabelled: Unmet = field(default_factory=Unmet)
    shared: int = 0

    def warnings(self) -> list[str]:
        found = []
        if self.unmatched.count:
            found.append(f"{self.unmatched.count} labels fit no item of the set, {self.unmatched}")
        if self.unlabelled.count:
            found.append(f"{self.unlabelled.count} items have no label and were left out, {self.unlabelled}")
        if self.shared:
            found.append(f"{self.shared} labels without corpus fit items of several corpora and were given to all of them")
        return found

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "sha256": self.digest,
            "unmatched": self.unmatched.count,
            "unmatched_examples": list(self.unmatched.examples),
            "unlabelled_items": self.unlabelled.count,
            "unlabelled_examples": list(self.unlabelled.examples),
            "shared_between_corpora": self.shared,
        }


@dataclass(frozen=True)
class Joined:
    """The L items that have a label, by position in the items table, and what did not meet."""

    positions: list[int]
    labels: list[Label]
    splits: list[str | None]
    report: LabelReport


def labels_for(feature_set: FeatureSet, path: str | Path | None, multi_label: bool) -> LabelSet:
    """The label set in a file, or (None) the one that the items carry."""
    return read_labels(path, multi_label) if path else labels_of_items(feature_set.items, str(feature_set.name), multi_label)


def labels_of_items(items: pa.Table, name: str, multi_label: bool = False) -> LabelSet:
    """The labels and splits that the items carry, from class folders or a listing. Raises UsageError if none has a label."""
    rows = list(zip(*(items[column].to_pylist() for column in ("corpus", "key", "label", "split")), strict=True))
    labels = {(corpus, key): parse_label(label, multi_label) for corpus, key, label, _ in rows}
    given = {key: label for key, label in labels.items() if label is not None}
    if not given:
        raise UsageError(
            f"the items of {name} carry no labels (the corpus had no class folders): pass --labels FILE with columns key,label"
        )
    return LabelSet(given, {(corpus, key): split for corpus, key, _, split in rows if split is not None}, f"the items of {name}")


def read_labels(path: str | Path, multi_label: bool = False) -> LabelSet:
    """Read a CSV, JSONL or Parquet file with a column `key` (or `path`), a column `label` and perhaps `split` and `corpus`.

    Rows without a label count as unlabelled. Raises NotFoundError, or UsageError for missing columns, one key with two labels, a list
    of labels without `multi_label`, and values that are no label.
    """
    file = read_label_file(path)
    labels: dict[ItemKey, Label] = {}
    splits: dict[ItemKey, str] = {}
    for number, row in enumerate(file.rows, 1):
        try:
            item = _item_key(file, row)
            _put(labels, item, parse_label(row.get("label"), multi_label), "label")
            _put(splits, item, _text(row.get("split")), "split")
        except UsageError as error:
            raise UsageError(f"the label file {path}, row {number}: {error}") from None
    return LabelSet(labels, splits, file.path, file.digest)


def parse_label(value: Any, multi_label: bool) -> Label | None:
    """A label as a tuple of class names, sorted; None where there is none. Numbers and truth values become text.

    With multi_label a text is split at '|' and a list is taken as it is; `[]` and a lone '|' mean: none of the classes.
    """
    if isinstance(value, list):
        if not multi_label:
            raise UsageError(f"the label {value!r} is a list: pass --multi-label for items with any number of classes")
        return _names(value)
    if multi_label and isinstance(value, str):
        return _names(value.split(SEPARATOR)) if value.strip() else None
    name = _text(value)
    return None if name is None else (name,)


def join(items: pa.Table, label_set: LabelSet) -> Joined:
    """Match labels with items by key, and by corpus where a label names one; that goes before a label without corpus.

    Raises UsageError, with a key of either side, if nothing matches.
    """
    keys: list[ItemKey] = list(zip(items["corpus"].to_pylist(), items["key"].to_pylist(), strict=True))
    found = [key if key in label_set.labels else (None, key[1]) for key in keys]
    positions = [i for i, key in enumerate(found) if key in label_set.labels]
    if not positions:
        raise UsageError(
            f"none of the {len(label_set.labels)} labels in {label_set.source} fits any of the {len(keys)} items: {_why(keys, label_set)}"
        )
    used = {found[i] for i in positions}
    several = len({corpus for corpus, _ in keys}) > 1
    unlabelled = [key for key, label in zip(keys, found, strict=True) if label not in used]
    report = LabelReport(
        source=label_set.source,
        digest=label_set.digest,
        unmatched=Unmet.of(key for key in label_set.labels if key not in used),
        unlabelled=Unmet.of((corpus if several else None, key) for corpus, key in unlabelled),
        shared=_repeated([found[i][1] for i in positions if found[i][0] is None]),
    )
    splits = [label_set.splits.get(keys[i]) or label_set.splits.get((None, keys[i][1])) for i in positions]
    return Joined(positions, [label_set.labels[found[i]] for i in positions], splits, report)


def _why(keys: list[ItemKey], label_set: LabelSet) -> str:
    """Why nothing matches: the corpora, or else the keys."""
    corpora, named = sorted({str(corpus) for corpus, _ in keys}), sorted({corpus for corpus, _ in label_set.labels if corpus})
    if {key for _, key in keys} & {key for _, key in label_set.labels}:
        return f"their keys are the same, but the labels are for the corpus {', '.join(named)}, and the set holds {', '.join(corpora)}"
    ours, theirs = (keys or [(None, "(none)")])[0][1], next(iter(label_set.labels), (None, "(none)"))[1]
    return f"the items have keys like {ours!r}, the labels like {theirs!r}. Keys are paths relative to the corpus folder"


def _item_key(file: LabelFile, row: Mapping[str, Any]) -> ItemKey:
    key = cell_text(row.get(file.key_column))
    if not key:
        raise UsageError(f"there is no {file.key_column}")
    return _text(row.get("corpus")), key


def _put(values: dict[ItemKey, Any], item: ItemKey, value: Label | str | None, column: str) -> None:
    if value is None:
        return
    if (before := values.setdefault(item, value)) != value:
        old, new = (SEPARATOR.join(v) if isinstance(v, tuple) else v for v in (before, value))
        raise UsageError(f"{item[1]!r} has two {column}s, {old!r} and {new!r}")


def _names(values: Iterable[Any]) -> Label:
    return tuple(sorted({name for name in map(_text, values) if name is not None}))


def _text(value: Any) -> str | None:
    """A value as text without space around it, None where it is empty."""
    if isinstance(value, (dict, list)):
        raise UsageError(f"expected text, a number or a truth value, got {type(value).__name__} {value!r}")
    return (cell_text(value) or "").strip() or None


def _repeated(keys: list[str]) -> int:
    seen: set[str] = set()
    again: set[str] = set()
    for key in keys:
        (again if key in seen else seen).add(key)
    return len(again)
