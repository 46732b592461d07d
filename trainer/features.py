"""The labelled features of one set version, in memory: what a head is fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.errors import UsageError
from storage.feature_set import FeatureSet
from trainer.labels import Joined, LabelSet, join
from trainer.task import Targets, Task

# What training takes of a set with views: one at random for each item and epoch, or view 0. Validation and test have view 0.
RANDOM, PLAIN = "random", "plain"
VIEWS = (RANDOM, PLAIN)


@dataclass(frozen=True)
class LabelledFeatures:
    """L labelled items: features [L * views, *shape] in the stored dtype, the views of an item together; targets y [L, ...], digests and
    given splits by item."""

    features: npt.NDArray[np.generic]
    views: int
    y: Targets
    classes: tuple[str, ...]
    digests: list[bytes]
    joined: Joined


def read_labelled(feature_set: FeatureSet, label_set: LabelSet, task: Task, views: str = PLAIN, in_memory: bool = True) -> LabelledFeatures:
    """Join a set with labels and read the rows that have one, each once; views: one of VIEWS, for what it takes. Without `in_memory`
    there are no features in it, for heads that read them from the store. Raises UsageError if nothing matches or there is no choice of
    classes (two at least, or one beside items without it)."""
    joined = join(feature_set.items, label_set)
    classes = tuple(sorted({name for label in joined.labels for name in label}))
    if len(set(joined.labels)) < 2:
        same = f"the label {', '.join(map(repr, classes))}" if classes else "no class at all"
        raise UsageError(f"all {len(joined.labels)} labelled items have {same}: a head needs at least two classes")
    return LabelledFeatures(
        features=_gather(feature_set, joined.positions if in_memory else [], None if views == RANDOM else 0),
        views=len(feature_set.views) if views == RANDOM else 1,
        y=task.encode(joined.labels, classes),
        classes=classes,
        digests=feature_set.items["digest"].take(pa.array(joined.positions)).to_pylist(),
        joined=joined,
    )


def _gather(feature_set: FeatureSet, positions: list[int], view: int | None) -> npt.NDArray[np.generic]:
    """Embeddings [L, *shape] of one view of the items at `positions` (ascending), [L * V, *shape] of all V (view None), with memory for
    them and one batch."""
    views = len(feature_set.views) if view is None else 1
    out = np.empty((len(positions), views, *feature_set.shape), feature_set.description.dtype)
    for batch in feature_set.batches(positions=positions, view=view):
        out[np.searchsorted(positions, batch.positions)] = batch.embeddings.reshape(-1, *out.shape[1:])
    return out.reshape(-1, *feature_set.shape)
