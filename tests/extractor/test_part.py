"""Places in containers, as locations write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractor.part import ByteRange, ParquetRow, Part, RecordImage, row_parts, split_part

PLACES = st.integers(0, 10**15)
RANGES = st.builds(ByteRange, PLACES, PLACES)
PARTS = RANGES | st.builds(RecordImage, RANGES, PLACES, PLACES) | st.builds(ParquetRow, st.integers(0, 10**6), PLACES)


@given(st.text("a.#=&+/", max_size=10), PARTS)
def test_a_location_gives_back_its_container_and_part(container: str, part: Part) -> None:
    assert split_part(f"{container}{part}") == (container, part)


@given(RANGES, RANGES, st.integers(0, 100))
def test_as_text_they_sort_as_they_lie(one: ByteRange, other: ByteRange, row: int) -> None:
    first, second = sorted((one, other), key=lambda part: part.start % 10**12)
    first, second = ByteRange(first.start % 10**12, 1), ByteRange(second.start % 10**12, 1)
    assert str(first) <= str(second)
    assert str(RecordImage(first, row, 1)) <= str(RecordImage(second, row, 1))
    assert row_parts(3, row + 1)[row] == str(ParquetRow(3, row))


@pytest.mark.parametrize(
    "location", ["a.tar", "a.tar#bytes=1", "a.tar#bytes=1+2x", "a#record=1+2", "a#record=1+2&image=3", "a#row=1", "#1.jpg"]
)
def test_other_names_are_files_of_their_own(location: str) -> None:
    assert split_part(location) == (location, None)
