"""Measuring drift: the set that a head was fitted on, then and now."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import PermafrostError
from storage.feature_set import FeatureSet, open_set
from trainer.drift import Drift, Moments, mean_distance, moments_of
from trainer.evaluate import share_interval
from trainer.evaluate_set import SetEvaluation
from trainer.head_folder import Head
from trainer.seen_items import is_own

Mask = npt.NDArray[np.bool_]


def drift_of(head: Head, result: SetEvaluation) -> Drift | None:
    """Between the version that the head was fitted on and the newer one that it was measured on; None where there are no two such, or the
    older one is gone."""
    feature_set = result.feature_set
    if head.version is None or not is_own(head, feature_set) or head.version >= feature_set.version:
        return None
    try:
        before = open_set(str(replace(feature_set.name, at=str(head.version))))
        is_added = _added(before, feature_set, result.positions)
    except PermafrostError:
        return None
    right = result.evaluation.right[is_added]
    return Drift(
        then=head.version,
        now=feature_set.version,
        added=int(is_added.sum()),
        rows=len(is_added),
        accuracy_then=head.tested,
        accuracy_added=(float(right.mean()), share_interval(right)) if len(right) else None,
        class_shares=_class_shares(result, is_added),
        mean_distance=_distance(feature_set, result.positions, is_added),
    )


def _added(before: FeatureSet, now: FeatureSet, positions: npt.NDArray[np.int64]) -> Mask:
    """Which of the items at these positions have an image that the older version does not hold."""
    known = before.columns("digest")["digest"].combine_chunks()
    ours = now.columns("digest")["digest"].take(pa.array(positions))
    return ~np.asarray(pc.is_in(ours, value_set=known))


def _class_shares(result: SetEvaluation, is_added: Mask) -> dict[str, tuple[float, float]]:
    evaluation = result.evaluation
    known, added = (evaluation.support_of(chosen) / max(1, chosen.sum()) for chosen in (~is_added, is_added))
    return {name: (float(a), float(b)) for name, a, b in zip(evaluation.classes, known, added, strict=True)}


def _distance(feature_set: FeatureSet, positions: npt.NDArray[np.int64], is_added: Mask) -> float | None:
    """Between the means of the features of known and of added items."""
    sums: list[Moments | None] = [None, None]
    for batch in feature_set.batches(positions=positions.tolist()):
        side = np.isin(batch.positions, positions[is_added])
        for number, chosen in enumerate((~side, side)):
            if chosen.any():
                found = moments_of(batch.embeddings[chosen])
                sums[number] = found if (before := sums[number]) is None else before + found
    known, new = sums
    return mean_distance(known, new) if known and new else None
