"""Who trains, who validates, who tests: pure functions of digests, labels, groups and a seed, in arrays.

Items that share a digest are one image and never straddle a split, nor do those of one group, except where a given split says so; then
they are counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.digests import Words, to_words
from storage.errors import UsageError
from trainer.few_shot import few_shot
from trainer.given_splits import TEST, TRAIN, VALIDATION, GivenSplits, normal_split
from trainer.hold_out import hold_out, hold_out_by_hash
from trainer.label_column import LabelColumn, Rows
from trainer.label_join import Joined
from trainer.split_options import AUTO, GIVEN, HASH, SplitOptions
from trainer.units import Units, units_of_groups, units_of_images

__all__ = ["TEST", "TRAIN", "UNUSED", "VALIDATION", "GivenSplits", "Split", "SplitOptions", "normal_split", "split_items", "split_joined"]

UNUSED = "unused"  # training items that a limit of shots leaves out
NAMES = (TRAIN, VALIDATION, TEST, UNUSED)


@dataclass(frozen=True, eq=False)
class Split:
    """The split of each of L items: `NAMES[codes[i]]`. `straddling`: images, and `straddling_groups`: groups, that the given splits put
    on several sides. `passed_over`: shares that were asked for of splits that are given."""

    codes: npt.NDArray[np.int8]
    given: bool
    straddling: int = 0
    straddling_groups: int = 0
    passed_over: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return np.array(NAMES, object)[self.codes].tolist()  # type: ignore[no-any-return]

    def positions(self, *names: str) -> Rows:
        """The items of these splits, ascending int64."""
        return np.flatnonzero(np.isin(self.codes, [NAMES.index(name) for name in names]))


def split_joined(items: pa.Table, joined: Joined, options: SplitOptions, tested: Rows | None = None) -> Split:
    """Split the L labelled items of a set; see `split_items`.

    Raises UsageError: no such column to group by, or empty cells in it; no splits where given ones are asked for; too few images for
    the shots.
    """
    groups = groups_of(items, joined, options.group_by) if options.group_by else None
    return split_items(to_words(items["digest"])[joined.positions], joined.column, joined.given, options, groups, tested)


def split_items(
    images: Words,
    labels: LabelColumn,
    given: GivenSplits,
    options: SplitOptions,
    groups: pa.ChunkedArray | pa.Array | None = None,
    tested: Rows | None = None,
) -> Split:
    """Split L items with digests [L, 4]. Given splits are kept (an item without one then trains), else a share `test` is held out. A
    share `validation` of what is left to train is held out too, unless a validation split is given.

    groups: [L], without nulls. tested: items of another split's test, which test here too, for another seed's validation items beside
    the same test.
    """
    images_apart = units_of_images(images)
    units = images_apart if groups is None else units_of_groups(images, groups)
    keep = given.any and options.how in (AUTO, GIVEN)
    if options.how == GIVEN and not given.any:
        raise UsageError("neither the items nor the labels carry splits to keep: add a column split, or split by hash or stratified")
    codes = given.numbers(NAMES, TRAIN).astype(np.int8) if keep else np.zeros(len(labels), np.int8)
    if tested is not None:
        codes[tested] = NAMES.index(TEST)
    elif not keep:
        codes[_held_out(units, labels, codes, options, TEST)] = NAMES.index(TEST)
    left = 1.0 if keep or tested is not None else 1 - options.test
    passed_over = [TEST] if keep and options.test != SplitOptions.test else []
    if (codes == NAMES.index(VALIDATION)).any():
        passed_over += [VALIDATION] if options.validation != SplitOptions.validation else []
    else:
        codes[_held_out(units, labels, codes, options, VALIDATION, left)] = NAMES.index(VALIDATION)
    if options.shots is not None:
        training = np.flatnonzero(codes == NAMES.index(TRAIN))
        codes[training] = NAMES.index(UNUSED)
        codes[few_shot(images_apart, labels, training, options.shots, options.seed)] = NAMES.index(TRAIN)
    straddling = _straddling(images_apart, codes) if keep else 0
    return Split(codes, keep, straddling, _straddling(units, codes) if keep and groups is not None else 0, tuple(passed_over))


def _held_out(
    units: Units, labels: LabelColumn, codes: npt.NDArray[np.int8], options: SplitOptions, purpose: str, left: float = 1.0
) -> Rows:
    """left: the share of all units that the candidates are."""
    candidates, share = np.flatnonzero(codes == NAMES.index(TRAIN)), options.test if purpose == TEST else options.validation
    if options.how == HASH:
        return hold_out_by_hash(units, candidates, share * left, options.seed, from_below=purpose == TEST)
    return hold_out(units, labels, candidates, share, options.seed, purpose)


def _straddling(units: Units, codes: npt.NDArray[np.int8]) -> int:
    """Units of which items are in several splits."""
    used = codes != NAMES.index(UNUSED)
    sides = np.zeros((len(units), len(NAMES)), bool)
    sides[units.of_item[used], codes[used]] = True
    return int((sides.sum(axis=1) > 1).sum())


def groups_of(items: pa.Table, joined: Joined, column: str) -> pa.ChunkedArray:
    """The group of each of the L labelled items. Raises UsageError: no such column, or empty cells in it."""
    if column not in items.column_names:
        raise UsageError(f"no item has a column {column!r} to group by; there are {', '.join(items.column_names)}")
    groups = items[column].take(pa.array(joined.positions))
    if pa.types.is_nested(groups.type) or isinstance(groups.type, pa.BaseExtensionType):
        raise UsageError(f"the column {column!r} to group by has a {groups.type} in each cell: expected text or a number")
    if pa.types.is_dictionary(groups.type):
        groups = groups.cast(groups.type.value_type)
    if groups.null_count:
        first = joined.positions[int(np.argmax(groups.is_null().to_numpy()))]
        raise UsageError(
            f"{groups.null_count} labelled items have no {column} to group by, such as {items['key'][int(first)].as_py()}: "
            "give each a value (its own key, if it belongs to no other), or leave their labels out"
        )
    return groups
