"""From computed to stored embeddings: the cast, and what it must not lose."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_CAST_ERROR = 0.01  # of an embedding's norm; float16 in its normal range costs under 0.0005
UNSTORABLE = frozenset({"non-finite", "underflow"})  # reject reasons: forward pass done, nothing to keep


def to_stored(embeddings: npt.NDArray[np.generic], dtype: str) -> tuple[npt.NDArray[np.generic], dict[int, tuple[str, str]]]:
    """Cast [n, *shape] to `dtype`; returns it with the rows that cannot be kept: row -> (reason, message).

    float16 holds 6e-8 to 65504. Above, it overflows to infinity; below, it flushes to zero without a sign of it (a network with
    random weights can have all its features there), so the size of the error is checked as well.
    """
    with np.errstate(over="ignore"):
        stored = embeddings.astype(dtype)
    rows = embeddings.reshape(len(embeddings), -1).astype(np.float64)
    finite = np.isfinite(stored).reshape(len(rows), -1).all(axis=1)
    faults = {int(i): ("non-finite", f"the embedding has NaN or infinity in {dtype}") for i in np.flatnonzero(~finite)}
    kept = np.where(finite[:, None], rows, 0.0)
    error = np.linalg.norm(kept - np.where(finite[:, None], stored.reshape(rows.shape), 0.0), axis=1)
    norm = np.linalg.norm(kept, axis=1)
    for i in np.flatnonzero(error > MAX_CAST_ERROR * norm):
        faults[int(i)] = ("underflow", f"the embedding is too small for {dtype}: {error[i] / norm[i]:.0%} of it is lost")
    return stored, faults
