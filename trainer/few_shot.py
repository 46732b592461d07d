"""A few images of each class to learn from."""

from __future__ import annotations

import numpy as np

from storage.errors import UsageError
from trainer.label_column import LabelColumn, Rows
from trainer.units import Units, ordered

SHOWN = 5  # classes named in an error


def few_shot(images: Units, labels: LabelColumn, candidates: Rows, shots: int, seed: int) -> Rows:
    """Choose `shots` images of each class among the candidates (items, ascending), by draws: n shots are among those of n + 1.

    Of an image with several items the first one is chosen. An image of several classes counts for each: such a class may have more than
    `shots`. Of items without classes as many are chosen. Raises UsageError for classes with fewer images.
    """
    at = images.of_item[candidates]
    _, first = np.unique(at, return_index=True)
    chosen = labels.take(candidates[first])
    draws = images.draws(seed, "shots")[at[first]]
    bare = np.flatnonzero(chosen.sizes == 0)
    rows = np.concatenate([chosen.rows, bare])
    codes = np.concatenate([chosen.codes, np.full(len(bare), len(labels.names))])
    order = ordered(codes, draws[rows])
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    counts = np.diff(starts, append=len(order))
    _require_enough(labels, chosen, shots)
    ranks = np.arange(len(order)) - np.repeat(starts, counts)
    return np.sort(candidates[first[np.unique(rows[order[ranks < shots]])]])


def _require_enough(labels: LabelColumn, images: LabelColumn, shots: int) -> None:
    occurring, counts = labels.counts(), images.counts()
    if few := [f"{n} of {name!r}" for name, n, all_of in zip(labels.names, counts, occurring, strict=True) if all_of and n < shots]:
        more = f" (and {len(few) - SHOWN} classes more)" if len(few) > SHOWN else ""
        raise UsageError(
            f"there are too few training images for {shots} shots: {', '.join(few[:SHOWN])}{more}. "
            "Take fewer shots, hold out less, or leave these classes out"
        )
