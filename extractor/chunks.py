"""Which files of a unit are read and claimed together. Pure."""

from __future__ import annotations

from collections.abc import Sequence

CHUNK = 256  # files, usually: a claim costs the register and the worker a millisecond each, however few digests it has
FIRST_CHUNK = 32  # of a unit, so that decoding begins soon
CHUNK_BYTES = 64 << 20  # a chunk ends with the file that reaches this many; two chunks are in memory at a time
UNKNOWN_BYTES = 2 << 20  # counted for a file whose size the source does not say


def plan_chunks(sizes: Sequence[int | None]) -> list[range]:
    """Positions of the files that are read together: FIRST_CHUNK, then CHUNK each, ending with the one that makes them CHUNK_BYTES.

    A rest of less than half a CHUNK goes with the chunk before it.
    """
    chunks, start, held, n = [], 0, 0, len(sizes)
    for position, size in enumerate(sizes):
        held += UNKNOWN_BYTES if size is None else size
        files, rest = position + 1 - start, n - position - 1
        if held >= CHUNK_BYTES or (files == FIRST_CHUNK if not start else files >= CHUNK and rest >= CHUNK // 2):
            chunks.append(range(start, position + 1))
            start, held = position + 1, 0
    return [*chunks, range(start, n)] if start < n else chunks
