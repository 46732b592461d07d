"""Embeddings of one space made from those of another without a forward pass: pooled from maps, float16 from float32, fewer views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.golden import GoldenImages
from storage.space import FIXED_VIEWS, Space, differing_fields
from storage.stored import to_stored

_POOLINGS = ("avg", "max")


@dataclass(frozen=True)
class Derivation:
    """`pooling`: avg or max over all axes between the first and the last, or None to leave the shape; `dtype`: the stored one.

    `views`: the source's number of each view of the target.
    """

    pooling: str | None
    dtype: str
    views: tuple[int, ...] = (0,)

    def apply(self, embeddings: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.bool_]]:
        """From [n, *shape] of the source to [n, *shape] of the target; and which rows the target's dtype can hold, [n]."""
        if self.pooling is None and embeddings.dtype == np.dtype(self.dtype):
            return embeddings, np.ones(len(embeddings), np.bool_)
        values = self._pool(embeddings.astype(np.float32))
        stored, faults = to_stored(values, self.dtype)
        good = np.ones(len(stored), np.bool_)
        good[list(faults)] = False
        return stored, good

    def of_golden(self, golden: GoldenImages) -> npt.NDArray[np.generic]:
        """[G * V, *shape] of the target, from the golden images of the source in all its views."""
        rows = np.arange(len(golden.images))[:, None] * golden.views + np.array(self.views)
        return self.apply(golden.embeddings[rows.reshape(-1)])[0]

    def _pool(self, maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self.pooling is None:
            return maps
        positions = tuple(range(1, maps.ndim - 1))
        return np.asarray(maps.mean(axis=positions) if self.pooling == "avg" else maps.max(axis=positions), np.float32)


def derivation(source: Space, target: Space) -> Derivation | None:
    """How embeddings in `target` follow from those in `source`; None where that takes the network.

    A wider dtype is never derived from a narrower one: the space would promise digits that are not there.
    """
    if not set(differing_fields(source, target)) <= {"pooling", "dtype", "views", "view_seed"}:
        return None
    views = [_view_in(source, target, number) for number in range(len(target.views))]
    same_pooling = source.pooling == target.pooling
    if not same_pooling and not (source.pooling == "none" and target.pooling in _POOLINGS):
        return None
    if source.dtype != target.dtype and (source.dtype, target.dtype) != ("float32", "float16"):
        return None
    found = tuple(view for view in views if view is not None)
    return Derivation(None if same_pooling else target.pooling, target.dtype, found) if len(found) == len(views) else None


def _view_in(source: Space, target: Space, number: int) -> int | None:
    """The source's number of the target's view `number`; None if it has none that is the same. A crop goes by seed and number."""
    view = target.views[number]
    if view in FIXED_VIEWS:
        return source.views.index(view) if view in source.views else None
    same = source.view_seed == target.view_seed and source.views[number : number + 1] == (view,)
    return number if same else None
