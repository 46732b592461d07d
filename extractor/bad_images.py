"""Images that gave no embedding, by their digests: a copy of one is a reject, too, without being decoded."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.digests import DigestMap, to_words


class BadImages:
    """Digests of images that gave no embedding, and why. Memory: as `DigestMap`, and one text for each different message."""

    def __init__(self) -> None:
        self._of = DigestMap(1)
        self._why: dict[tuple[str, str], int] = {}

    def add(self, table: pa.Table) -> dict[str, int]:
        """Add what is rejected and has a digest. table: with the columns digest, reason, message. Returns the new ones by reason."""
        if table["reason"].null_count == table.num_rows:
            return {}
        bad = table.filter(pc.and_(table["reason"].is_valid(), table["digest"].is_valid()))
        if not bad.num_rows:
            return {}
        words = to_words(bad["digest"])
        causes = list(zip(bad["reason"].to_pylist(), bad["message"].to_pylist(), strict=True))
        ids = np.array([self._why.setdefault(cause, len(self._why)) for cause in causes], np.int32)
        fresh = ~self._of.holds(words)
        reasons = {bytes(word.tobytes()): reason for word, (reason, _), new in zip(words, causes, fresh, strict=True) if new}
        self._of.add(words, ids[:, None])
        return Counter(reasons.values())

    def merge(self, other: BadImages) -> None:
        causes = list(other._why)
        for words, ids in other._of.blocks():
            mine = [self._why.setdefault(causes[number], len(self._why)) for number in ids[:, 0]]
            self._of.add(words, np.array(mine, np.int32)[:, None])

    def why(self, digests: pa.ChunkedArray) -> tuple[npt.NDArray[np.bool_], list[str], list[str]]:
        """(whether each is bad [n], reasons and messages of those that are)."""
        held, ids = self._of.find(to_words(digests))
        causes = list(self._why)
        found = [causes[number] for number in ids[held, 0]]
        return held, [reason for reason, _ in found], [message for _, message in found]
