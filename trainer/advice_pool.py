"""The items that advice is taken from: labelled, not held out for test, and not more than bounded time allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

import storage
from storage.digests import Words, to_words
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from trainer.arrays import Numbers
from trainer.exact_fits import FitData
from trainer.features import LabelledFeatures, LabelledItems, label_items
from trainer.given_splits import GivenSplits
from trainer.hold_out import hold_out
from trainer.label_join import Joined
from trainer.labels import labels_for
from trainer.options import FitOptions
from trainer.prepared import Prepared
from trainer.rows import MemoryRows, StoredRows, require_finite, vectors
from trainer.split_options import AUTO, GIVEN
from trainer.splits import TEST, TRAIN, VALIDATION, Split, split_joined
from trainer.task import task_of
from trainer.units import units_of_images

MOST_ITEMS = 3000  # what a few minutes on two cores allow with 2,048 features
MOST_WIDTH = 2048  # features: ridge's decomposition grows with the cube
FOLDS = 5
SHOWN = 5

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pool:
    """`positions` [N] of the items in the set's table, ascending, their class numbers `y` [N]; `tested` [M]: positions of the test items,
    which are left alone. `labelled`: items of these classes that are not tested, of which the pool may be a sample. `folds`: how
    many."""

    feature_set: FeatureSet
    joined: Joined
    positions: Numbers
    y: Numbers
    digests: Words
    tested: Numbers
    labelled: int
    folds: int
    options: FitOptions
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.joined.classes

    def __len__(self) -> int:
        return len(self.positions)

    def prepared(self, features: Features, head: str, **options: Any) -> Prepared:
        """For a head on features [N, D] of these items, be they of this set or of another; no item is tested."""
        chosen = replace(self.options, head=head, map="", **options).for_features(features.shape[1:])
        task = task_of(False)
        keys = self.feature_set.columns("key")["key"].take(pa.array(self.positions))
        data = FitData(MemoryRows(features, 1, keys), self.y, self.classes, task, chosen)
        labelled = LabelledFeatures(self.y, self.classes, self.digests, self.joined, features=features, views=1)
        return Prepared(self.feature_set, labelled, data, Split(np.zeros(len(self), np.int8), False))

    def identities(self) -> pa.Array:
        """Digest and key of each item, as one value [N]."""
        return identities(self.feature_set).take(pa.array(self.positions))

    def only(self, kept: npt.NDArray[np.bool_], notes: Sequence[str] = ()) -> Pool:
        """Without the others; classes that are left with one image go, too, as do the folds that are too many."""
        return _pool(self.feature_set, self.joined, np.flatnonzero(kept), self.tested, self.labelled, self.options, (*self.notes, *notes))


def pool_of(uri: str | Path, labels: str | Path | None, options: FitOptions, most: int = MOST_ITEMS) -> Pool:
    """Join a set with labels and take what is to be trained on (train and validation), at most so many items: whole images of each class.

    Raises UsageError: labels that fit nothing, or items of several classes; fewer than two classes with two images.
    """
    feature_set = storage.open(uri)
    label_set = labels_for(feature_set, labels, False, options.labels)
    items: LabelledItems = label_items(feature_set, label_set, task_of(False))
    split = split_joined(feature_set.items, items.joined, options.split)
    numbers, notes = split.positions(TRAIN, VALIDATION), list[str]()
    labelled = len(numbers)
    if unseen := sorted(set(items.joined.classes) - set(items.joined.column.take(numbers).without_unused().names)):
        notes.append(f"classes without an item to learn from are left out, and `train` refuses them: {_some(unseen)}")
    if labelled > most:
        units = units_of_images(to_words(feature_set.items["digest"])[items.joined.positions])
        numbers = hold_out(units, items.joined.column, numbers, most / labelled, options.seed, "advice")
        notes.append(f"looked at a sample of {len(numbers)} of {labelled} labelled items, by class and seed")
    if split.straddling:
        notes.append(f"{split.straddling} images stand in more than one of the given splits: test numbers will be too good")
    settled = replace(options, split_by=AUTO if options.split_by == GIVEN else options.split_by, shots=None)
    return _pool(feature_set, items.joined, numbers, items.joined.positions[split.positions(TEST)], labelled, settled, notes)


def _pool(
    feature_set: FeatureSet, joined: Joined, numbers: Numbers, tested: Numbers, labelled: int, options: FitOptions, notes: Sequence[str]
) -> Pool:
    """Of these of the joined items; without classes of a single image, which no fold could both learn and ask for."""
    digests = to_words(feature_set.items["digest"])[joined.positions[numbers]]
    column = joined.column.take(numbers)
    of_images = np.unique(np.column_stack((column.codes.astype(np.uint64), digests)), axis=0)
    images = np.bincount(of_images[:, 0].astype(np.int64), minlength=len(column.names))
    alone = [name for name, count in zip(column.names, images, strict=True) if count == 1]
    if alone:
        notes = [*notes, f"classes of one image are left out: {_some(alone)}"]
    kept = images[column.codes] > 1
    numbers, column = numbers[kept], column.take(np.flatnonzero(kept)).without_unused()
    if len(column.names) < 2:
        raise UsageError(
            f"advice needs at least two classes with two images each to learn from, got {len(column.names)}: "
            "label more images, or hold out less for test"
        )
    subset = Joined(joined.positions[numbers], column, GivenSplits((), np.full(len(numbers), -1)), joined.report)
    return Pool(
        feature_set=feature_set,
        joined=subset,
        positions=subset.positions,
        y=column.codes.astype(np.int64),
        digests=digests[kept],
        tested=tested,
        labelled=round(labelled * float(kept.mean())),  # of what was looked at, the share in classes of two images
        folds=min(FOLDS, int(images[images > 1].sum())),
        options=options,
        notes=tuple(notes),
    )


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{' and more' if len(names) > SHOWN else ''}"


def features_of(feature_set: FeatureSet, positions: Numbers) -> Features:
    """View 0 of the items at these positions [N], as vectors [N, D]: maps by their average, and what is wider than MOST_WIDTH by random
    directions, which keep distances (Johnson and Lindenstrauss). Raises UsageError for features that are no numbers."""
    order = np.argsort(positions)
    rows = StoredRows(feature_set, positions[order])
    width = feature_set.shape[-1]
    directions = None if width <= MOST_WIDTH else tf.constant(_directions(width))
    out = np.empty((len(positions), min(width, MOST_WIDTH)), np.float32)
    for part, block in vectors(rows, np.arange(len(positions)), "avg" if len(feature_set.shape) > 1 else ""):
        out[order[part]] = block if directions is None else block @ directions
    if not np.isfinite(out).all():
        require_finite(rows, np.arange(len(positions)))
    return out


def _directions(width: int) -> Features:
    random = np.random.default_rng(0)
    return np.asarray(random.standard_normal((width, MOST_WIDTH)) / np.sqrt(MOST_WIDTH), np.float32)


def pooling_note(feature_set: FeatureSet) -> str:
    """What was done to the features before they were looked at; "" for nothing."""
    said = ["maps were averaged over their positions"] if len(feature_set.shape) > 1 else []
    if feature_set.shape[-1] > MOST_WIDTH:
        said.append(f"{feature_set.shape[-1]} features were projected at random onto {MOST_WIDTH}")
    return ", and ".join(said)


def identities(feature_set: FeatureSet) -> pa.Array:
    """Digest and key of each item of a set, as one value."""
    table = feature_set.columns("digest", "key")
    return pc.binary_join_element_wise(*(column.combine_chunks().cast(pa.binary()) for column in table.columns), b"/")
