"""How many of the files to read no set has yet, by a sample of them: so many forward passes there will be to pay for a measurement."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extractor.content import locate, read_content
from extractor.corpus import Items
from extractor.forecast import spread
from extractor.limits import Limits

SAMPLE = 64  # files at most
SHARE = 1 / 20  # of the files, at most: they are read twice
READ_THREADS = 8  # each has one file in memory

Holds = Callable[[Sequence[bytes]], npt.NDArray[np.bool_]]  # content digests -> whether their embeddings need no forward pass


def likely_new(files: Items, base: Path, holders: Sequence[Holds], limits: Limits) -> int:
    """Read and hash a few of the files, drawn from all parts of them; all count as new where they are too few for a sample.

    holders: of each set that wants an embedding of each file. What cannot be read is not new. Two of the sample with the same bytes count
    as two: that a corpus repeats itself shows only in its reading.
    """
    chosen = spread(files, min(SAMPLE, int(SHARE * len(files))))
    if not chosen:
        return len(files)
    with ThreadPoolExecutor(READ_THREADS) as pool:
        found = pool.map(lambda item: read_content(locate(base, item), limits.bytes), chosen)
        digests = [hashlib.sha256(content.encoded).digest() for content in found if not content.reason]
    held = np.all([holds(digests) for holds in holders], axis=0)
    return round(len(files) * int((~held).sum()) / len(chosen))
