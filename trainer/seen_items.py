"""Whether a head may have learned from the items that it is measured on: by what `head.json` says of its set, its splits and its test."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.digests import to_words
from storage.errors import PermafrostError
from storage.feature_set import FeatureSet, open_set
from storage.names import SetName, parse_set
from storage.versions import read_manifest
from trainer.given_splits import TEST, TRAIN, VALIDATION
from trainer.head_folder import Head
from trainer.label_join import Joined
from trainer.measured import digest_of_tested

Rows = npt.NDArray[np.int64]

OF_SET = "the head was fitted on items of this very set: the numbers are too good unless --split names what it has not seen"
OF_TRAIN = "the head was fitted on items of train: the numbers are too good"
OF_BOTH = "the head has learned from train and validation together: the numbers on validation are too good, those of --split test are not"
NOT_AS_TESTED = (
    "these are not the items that the head was tested on (other images, labels or splits): it may have been fitted on some of them, and "
    "then the numbers are too good"
)


@dataclass(frozen=True)
class Seen:
    """sure: the head has learned from these items, or from some. note: what to say of it, also where it only may have."""

    sure: bool = False
    note: str = ""


def seen_items(head: Head, feature_set: FeatureSet, joined: Joined, splits: Rows, rows: Rows, split: str | None) -> Seen:
    """Of the items `rows` [n] among the labelled ones, measured as those of a split (None: all). splits: of each labelled item, the number
    of it among train, validation and test, or -1.

    That the tested items are measured is known by their digest; items that came after the head's version it has not seen.
    """
    own = is_own(head, feature_set)
    if not own and joined.report.joined_digest != head.description.get("label_set_sha256"):
        return Seen()
    known = _known_then(head, feature_set, joined) if own else np.ones(len(joined.positions), bool)
    rows = rows[known[rows]]
    if not len(rows) or _is_tested(head, feature_set, joined, rows):
        return Seen()
    if split is None or split == TRAIN:
        return Seen(True, OF_TRAIN if split else OF_SET)
    if split == VALIDATION:
        if _learned_from_validation(head):
            return Seen(True, OF_BOTH)
        if _is_tested(head, feature_set, joined, np.flatnonzero((splits == (TRAIN, VALIDATION, TEST).index(TEST)) & known)):
            return Seen()  # by these labels' splits it was chosen by these items, but not fitted on them
    return Seen(False, NOT_AS_TESTED)


def is_own(head: Head, feature_set: FeatureSet) -> bool:
    """Whether the head was fitted on a version of this set, under this name or another one: a store can be copied and moved. Two sets of
    one team's and set's name are two if both are there, with different versions of the head's number."""
    try:
        then = parse_set(head.fitted_on)
    except PermafrostError:
        return False
    now = feature_set.name
    if _place(then) == _place(now):
        return True
    if (then.team, then.name) != (now.team, now.name):
        return False
    before, ours = _nonce(then, head.version), _nonce(now, head.version)
    return before is None or ours is None or before == ours


def _place(name: SetName) -> str:
    return str(name.folder.resolve() if isinstance(name.folder, Path) else name.folder)


def _nonce(name: SetName, version: int | None) -> str | None:
    """What tells a version from all others; None if it is not there to be read."""
    with suppress(PermafrostError, OSError):
        return read_manifest(name.folder, version).nonce if version else None
    return None


def _known_then(head: Head, feature_set: FeatureSet, joined: Joined) -> npt.NDArray[np.bool_]:
    """Which labelled items [L] have an image that the head's version of the set holds; all, if that is gone."""
    if head.version and head.version < feature_set.version:
        with suppress(PermafrostError):
            before = open_set(str(replace(feature_set.name, at=str(head.version)))).columns("digest")["digest"].combine_chunks()
            ours = feature_set.columns("digest")["digest"].take(pa.array(joined.positions))
            return np.asarray(pc.is_in(ours, value_set=before))
    return np.ones(len(joined.positions), bool)


def _is_tested(head: Head, feature_set: FeatureSet, joined: Joined, rows: Rows) -> bool:
    tested = head.description.get("tested_sha256")
    if not tested or not len(rows):
        return False
    digests = to_words(feature_set.columns("digest")["digest"].take(pa.array(joined.positions[rows])))
    y = joined.column.take(rows).targets(head.task.multi_label, head.classes)
    return bool(digest_of_tested(digests, y, head.classes) == tested)


def _learned_from_validation(head: Head) -> bool:
    """Of few shots, and when it is fine-tuned, a head is not fitted again on train and validation together; but the head that fine-tuning
    was started from (--from) may have been."""
    options, rows, frozen = (head.description.get(name, {}) for name in ("options", "rows_by_split", "frozen"))
    if head.space.is_pixels and frozen.get("start", {}).get("head"):
        return True
    few_shots = isinstance(options, dict) and bool(options.get("shots"))
    return not few_shots and not head.space.is_pixels and bool(rows.get(VALIDATION, 1))
