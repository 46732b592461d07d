from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractor.chunks import CHUNK, CHUNK_BYTES, FIRST_CHUNK, plan_chunks


@pytest.mark.parametrize(
    ("n", "chunks"),
    [
        (FIRST_CHUNK + 1, [FIRST_CHUNK, 1]),
        (300, [FIRST_CHUNK, 268]),
        (FIRST_CHUNK + CHUNK + CHUNK // 2, [FIRST_CHUNK, CHUNK, CHUNK // 2]),
        (FIRST_CHUNK + 2 * CHUNK + 1, [FIRST_CHUNK, CHUNK, CHUNK + 1]),
    ],
)
def test_small_files_are_read_in_few_chunks_of_which_the_first_is_soon_there(n: int, chunks: list[int]) -> None:
    assert [len(chunk) for chunk in plan_chunks([1000] * n)] == chunks


@given(st.lists(st.one_of(st.none(), st.integers(0, 2 * CHUNK_BYTES)), max_size=600))
def test_chunks_hold_few_files_and_few_bytes(sizes: list[int | None]) -> None:
    chunks = plan_chunks(sizes)
    assert [position for chunk in chunks for position in chunk] == list(range(len(sizes)))
    for chunk in chunks:
        assert 1 <= len(chunk) < (CHUNK + CHUNK // 2 if chunk.start else FIRST_CHUNK + 1)
        assert sum(sizes[position] or 0 for position in chunk[:-1]) < CHUNK_BYTES
