"""Labels and items brought together, as arrays from end to end: a million of each take about a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.digests import to_words
from storage.errors import UsageError
from trainer.arrays import Numbers
from trainer.class_names import doubts_about
from trainer.given_splits import GivenSplits
from trainer.label_column import Label, LabelColumn, Rows
from trainer.label_digest import digest_of_labels
from trainer.label_keys import look_up
from trainer.label_options import DIGEST, KEY, REFUSE
from trainer.label_report import EXAMPLES, LabelReport, Unmet
from trainer.label_set import LabelSet, shown


@dataclass(frozen=True, eq=False)
class Joined:
    """The L items that have a label, by position in the items table (int64 [L], ascending), and what did not meet."""

    positions: Rows
    column: LabelColumn
    given: GivenSplits
    report: LabelReport

    @cached_property
    def labels(self) -> list[Label]:
        """The same as Python objects, a tuple an item: for what is shown, not for a million."""
        return self.column.to_list()

    @cached_property
    def splits(self) -> list[str | None]:
        return self.given.to_list()

    @property
    def classes(self) -> tuple[str, ...]:
        """Those that occur, ascending."""
        return self.column.names


def join(items: pa.Table, label_set: LabelSet) -> Joined:
    """Match labels with items by key (and by corpus where a label names one; that goes before a label without corpus) or by digest,
    then merge and choose classes as the label set's options say.

    Raises UsageError, with a key of either side, if nothing matches; also for items without a label if the options refuse them, and
    for classes to merge or to choose that no label has.
    """
    if not len(label_set.labels):
        empty = f"all its labels are empty, of {len(label_set.keys)} keys: fill the column label"
        raise UsageError(f"there is no label in {label_set.source}: {empty if len(label_set.keys) else 'it has no rows'}")
    numbers = label_set.keys.numbers_of(items)
    exact = _exact_ids(items, label_set, numbers)
    label_of = _find(label_set.label_ids, exact, numbers)
    positions = np.flatnonzero(label_of >= 0)
    if not len(positions):
        raise UsageError(
            f"none of the {len(label_set.labels)} labels in {label_set.source} fits any of the {items.num_rows} items: "
            f"{_why(items, label_set, numbers)}"
        )
    unlabelled = _unlabelled(items, label_set, label_of)
    if unlabelled.count and label_set.options.missing == REFUSE:
        raise UsageError(f"{unlabelled.count} items have no label in {label_set.source}, {unlabelled}, and missing labels are refused")
    split_of = _find(label_set.split_ids, exact, numbers)[positions]
    given = replace(label_set.splits, codes=np.append(label_set.splits.codes, -1)[split_of])
    report = LabelReport(
        source=label_set.source,
        digest=label_set.digest,
        unmatched=_unmatched(label_set, label_of[positions]),
        unlabelled=unlabelled,
        shared=_shared(label_set, label_of[positions]),
        joined_by=label_set.joined_by,
    )
    return _chosen(items, label_set, Joined(positions, label_set.labels.take(label_of[positions]), given, report))


def _exact_ids(items: pa.Table, label_set: LabelSet, numbers: Numbers) -> Numbers | None:
    """The id of each item's own corpus and key, -1 where no label or split names them; None if none names a corpus."""
    if not label_set.corpora:
        return None
    corpus = pc.index_in(items["corpus"].cast(pa.string()), value_set=pa.array(label_set.corpora, pa.string())).fill_null(-1).to_numpy()
    return np.where((numbers >= 0) & (corpus >= 0), (corpus.astype(np.int64) + 1) * len(label_set.keys) + numbers, -1)


def _find(held: Numbers, exact: Numbers | None, numbers: Numbers) -> Rows:
    found = look_up(held, numbers)
    if exact is None:
        return found
    own = look_up(held, exact)
    return np.where(own >= 0, own, found)


def _chosen(items: pa.Table, label_set: LabelSet, joined: Joined) -> Joined:
    """After the merges, with the chosen classes only, and with the digest of what is left."""
    new_names, classes = label_set.options.new_names, label_set.options.classes
    known = label_set.labels.without_unused().names
    if not label_set.options.lenient:
        _require_known(new_names, known, "to merge", label_set.source)
        _require_known(classes, [new_names.get(name, name) for name in known], "to keep", label_set.source)
    column = joined.column.renamed(new_names) if new_names else joined.column
    counts, rows = column.counted(), np.arange(len(column))
    if classes:
        column = column.only(classes)
        if not label_set.multi_label:  # else it stays, as an item of none of these
            rows = np.flatnonzero(column.sizes)
            column = column.take(rows)
    column, positions = column.without_unused(), joined.positions[rows]
    if not len(rows):
        raise UsageError(f"no item has a label of the chosen classes {', '.join(classes)}; the items have {', '.join(list(counts)[:20])}")
    report = replace(
        joined.report,
        merged=new_names,
        left_out={name: n for name, n in counts.items() if classes and name not in classes},
        left_out_rows=len(joined.positions) - len(rows),
        absent=tuple(name for name in classes if name not in counts),
        doubts=tuple(doubts_about(column.counted())),
        joined_digest=digest_of_labels(to_words(items["digest"])[positions], column),
    )
    return Joined(positions, column, joined.given.take(rows), report)


def _require_known(names: Iterable[str], known: Sequence[str], purpose: str, source: str) -> None:
    if absent := [name for name in names if name not in known]:
        shown = ", ".join(map(repr, sorted(set(known))[:20])) + (", ..." if len(known) > 20 else "")
        raise UsageError(f"no label in {source} is of the class {', '.join(map(repr, absent))} {purpose}; there are {shown}")


def _unmatched(label_set: LabelSet, used: Rows) -> Unmet:
    left = np.flatnonzero(np.bincount(used, minlength=len(label_set.labels)) == 0)
    return Unmet(len(left), tuple(label_set.show(label) for label in left[:EXAMPLES]))


def _unlabelled(items: pa.Table, label_set: LabelSet, label_of: Rows) -> Unmet:
    rows = np.flatnonzero(label_of < 0)
    several = len(pc.unique(items["corpus"])) > 1
    examples = (shown(_cell(items, "key", row), _cell(items, "corpus", row) if several else None) for row in rows[:EXAMPLES])
    return Unmet(len(rows), tuple(examples))


def _shared(label_set: LabelSet, used: Rows) -> int:
    """Labels without corpus whose key several items have."""
    if label_set.joined_by != KEY:
        return 0
    return int(((np.bincount(used, minlength=len(label_set.labels)) > 1) & (label_set.label_ids < len(label_set.keys))).sum())


def _why(items: pa.Table, label_set: LabelSet, numbers: Numbers) -> str:
    """Why nothing matches: the corpora, or else the keys."""
    if label_set.corpora and (numbers >= 0).any():
        named, there = ", ".join(sorted(label_set.corpora)), ", ".join(sorted(set(items["corpus"].unique().to_pylist())))
        return f"their keys are the same, but the labels are for the corpus {named}, and the set holds {there}"
    ours = repr(label_set.keys.show_item(items, 0)) if items.num_rows else "'(none)'"
    theirs = repr(label_set.keys.show(0)) if len(label_set.keys) else "'(none)'"
    if label_set.joined_by == DIGEST:
        return f"the items have digests like {ours}, the labels like {theirs}. A digest is the sha256 of an image file's bytes"
    return f"the items have keys like {ours}, the labels like {theirs}. Keys are paths relative to the corpus folder"


def _cell(items: pa.Table, column: str, row: np.int64) -> str:
    return str(items[column][int(row)].as_py())
