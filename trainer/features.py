"""The labelled features of one set version, in memory: what a head is fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.errors import UsageError
from storage.feature_set import FeatureSet
from trainer.labels import Joined, LabelSet, join


@dataclass(frozen=True)
class LabelledFeatures:
    """L labelled items: features [L, *shape] in the stored dtype, y [L] class numbers, digests and given splits by item."""

    keys: list[str]
    features: npt.NDArray[np.generic]
    y: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    digests: list[bytes]
    joined: Joined


def read_labelled(feature_set: FeatureSet, label_set: LabelSet) -> LabelledFeatures:
    """Join a set with labels and read the rows that have one. Raises UsageError if nothing matches or only one class is left."""
    joined = join(feature_set.items, label_set)
    classes = tuple(sorted(set(joined.labels)))
    if len(classes) < 2:
        raise UsageError(f"all {len(joined.labels)} labelled items have the label {classes[0]!r}: a head needs at least two classes")
    numbers = {name: i for i, name in enumerate(classes)}
    keys, embeddings = feature_set.to_numpy()
    digests = feature_set.items["digest"].take(pa.array(joined.positions)).to_pylist()
    return LabelledFeatures(
        keys=[keys[i] for i in joined.positions],
        features=embeddings[joined.positions],
        y=np.array([numbers[label] for label in joined.labels], np.int64),
        classes=classes,
        digests=digests,
        joined=joined,
    )
