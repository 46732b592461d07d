from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import digests
from storage.digests import DigestMap, from_words, to_words, words_of


@pytest.fixture(autouse=True, scope="module")
def little_memory() -> Iterator[None]:
    """So that a few digests lie in files, and are moved in several steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "MAPPED_ROWS", 4)
        patch.setattr(digests, "COPY_ROWS", 3)
        yield


# Some agree in the first word, as somebody may have made them on purpose.
DIGESTS = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(lambda pair: bytes([pair[0]]) * 8 + bytes([pair[1]]) * 24)
BATCHES = st.lists(st.lists(DIGESTS, max_size=12), max_size=6)


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=9), st.integers(0, 9))
def test_words_are_digests_in_the_order_of_their_bytes(values: list[bytes], start: int) -> None:
    array = pa.array(values, pa.binary(32)).slice(start)
    assert from_words(to_words(array)).to_pylist() == values[start:]
    assert np.array_equal(to_words(array), words_of(values[start:]))
    assert sorted(values) == from_words(np.array(sorted(words_of(values).tolist()), np.uint64).reshape(-1, 4)).to_pylist()


@given(BATCHES, st.lists(DIGESTS, max_size=12))
def test_a_map_is_a_dictionary_in_which_the_first_value_stays(batches: list[list[bytes]], asked: list[bytes]) -> None:
    held, expected, number = DigestMap(2), {}, 0
    for batch in batches:
        values = [(number + i, -i) for i in range(len(batch))]
        number += len(batch)
        held.add(words_of(batch), np.array(values, np.int32).reshape(-1, 2))
        for digest, value in zip(batch, values, strict=True):
            expected.setdefault(digest, value)
    assert len(held) == len(expected)
    found, values_found = held.find(words_of(asked))
    assert list(found) == [digest in expected for digest in asked]
    assert [tuple(value) for value in values_found.tolist()] == [expected.get(digest, (0, 0)) for digest in asked]
    everything = {
        digest: tuple(value)
        for words, of_words in held.blocks()
        for digest, value in zip(from_words(words).to_pylist(), of_words.tolist(), strict=True)
    }
    assert everything == expected
    assert sorted(from_words(held.words()).to_pylist()) == sorted(expected)


@pytest.mark.slow
def test_there_are_few_tables_however_many_are_added() -> None:
    held, made = DigestMap(), np.random.default_rng(0)
    for _ in range(500):
        held.add(made.integers(0, 2**63, (10, 4), np.uint64))
    assert len(held) == 5000
    assert len(held._tables) < 12


def test_nothing_is_held_by_an_empty_map() -> None:
    assert not DigestMap().holds(words_of([bytes(32)])).any()
    assert len(DigestMap().words()) == 0
