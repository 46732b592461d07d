"""The labelled features of one set version: what a head is fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.digests import Words, to_words
from storage.feature_set import FeatureSet
from trainer.feature_spread import spread_warnings
from trainer.label_column import require_two_classes
from trainer.labels import Joined, LabelSet, join
from trainer.room import aligned_room
from trainer.rows import MemoryRows, require_sizes
from trainer.task import Targets, Task

# What training takes of a set with views: one at random for each item and epoch, or view 0. Validation and test have view 0.
RANDOM, PLAIN = "random", "plain"
VIEWS = (RANDOM, PLAIN)
READERS = 2  # threads; on 2 cores more bring nothing


@dataclass(frozen=True)
class LabelledItems:
    """L labelled items: targets y [L, ...], classes, digests and given splits by item."""

    y: Targets
    classes: tuple[str, ...]
    digests: Words
    joined: Joined


@dataclass(frozen=True)
class LabelledFeatures(LabelledItems):
    """The same with features [L * views, *shape] in the stored dtype, the views of an item together."""

    features: npt.NDArray[np.generic]
    views: int
    warnings: tuple[str, ...] = ()  # of the features
    streamed: bool = False  # none are in it: they are read from the store in each pass


def label_items(feature_set: FeatureSet, label_set: LabelSet, task: Task) -> LabelledItems:
    """Join a set with labels. Raises UsageError if nothing matches or there is no choice of classes (two at least, or one beside items
    without it)."""
    joined = join(feature_set.items, label_set)
    require_two_classes(joined.column)
    return LabelledItems(
        y=joined.column.targets(task.multi_label),
        classes=joined.classes,
        digests=to_words(feature_set.items["digest"])[joined.positions],
        joined=joined,
    )


def read_labelled(
    feature_set: FeatureSet, label_set: LabelSet, task: Task, views: str = PLAIN, most_bytes: int | None = None
) -> LabelledFeatures:
    """Join a set with labels, as `label_items`, and read the rows that have one, each once; views: one of VIEWS, for what it takes.

    most_bytes: where these features are larger there are none in it, for heads that read them from the store; None: all are read.
    Raises UsageError for features of a size that nothing can be fitted on.
    """
    items = label_items(feature_set, label_set, task)
    positions, count = items.joined.positions, len(feature_set.views) if views == RANDOM else 1
    streamed = most_bytes is not None and len(positions) * count * feature_set.embedding_bytes > most_bytes
    read = positions[:0] if streamed else positions
    features = read_features(feature_set, read, None if views == RANDOM else 0)
    require_sizes(MemoryRows(features, count, feature_set.columns("key")["key"].take(pa.array(read))))
    return LabelledFeatures(**vars(items), features=features, views=count, warnings=tuple(spread_warnings(features)), streamed=streamed)


def read_features(
    feature_set: FeatureSet, positions: npt.NDArray[np.int64], view: int | None, readers: int = READERS
) -> npt.NDArray[np.generic]:
    """Embeddings [L, *shape] of one view of the items at `positions` (ascending), [L * V, *shape] of all V (view None), with memory for
    them and a few batches, where TensorFlow takes them as they are."""
    views = len(feature_set.views) if view is None else 1
    out = aligned_room((len(positions), views, *feature_set.shape), feature_set.description.dtype)
    for batch in feature_set.batches(positions=positions, view=view, threads=readers):
        out[np.searchsorted(positions, batch.positions)] = batch.embeddings.reshape(-1, *out.shape[1:])
    return out.reshape(-1, *feature_set.shape)
