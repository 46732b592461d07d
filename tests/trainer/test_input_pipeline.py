from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.input_pipeline import batches_of, rows_per_batch
from trainer.room import aligned_room

pytestmark = pytest.mark.slow

N = 20
FEATURES = np.arange(N * 3, dtype=np.float16).reshape(N, 3)
Y = np.arange(N, dtype=np.int64) * 7


def epochs_of(positions: list[int], batch_size: int, seed: int | None, epochs: int) -> list[list[int]]:
    """Row numbers of each epoch, read off the labels."""
    rows = [int(y) // 7 for _, labels in batches_of(FEATURES, Y, positions, batch_size, seed, epochs) for y in labels]
    return [rows[i : i + len(positions)] for i in range(0, len(rows), len(positions))]


POSITIONS = st.lists(st.integers(0, N - 1), min_size=1, max_size=N, unique=True)


@settings(deadline=None, max_examples=12)
@given(POSITIONS, st.integers(1, 25), st.integers(0, 2**31 - 1))
def test_each_epoch_is_a_permutation(positions: list[int], batch_size: int, seed: int) -> None:
    epochs = epochs_of(positions, batch_size, seed, 3)
    assert [sorted(epoch) for epoch in epochs] == [sorted(positions)] * 3


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 25), st.integers(1, 25), st.integers(0, 2**31 - 1))
def test_the_order_depends_on_seed_and_epoch_only(batch_size: int, other: int, seed: int) -> None:
    everything = list(range(N))
    epochs = epochs_of(everything, batch_size, seed, 3)
    assert epochs_of(everything, other, seed, 2) == epochs[:2]
    endless = batches_of(FEATURES, Y, everything, batch_size, seed, epochs=None).unbatch().take(3 * N)
    assert [int(y) // 7 for _, y in endless] == list(itertools.chain(*epochs))


def test_epochs_and_seeds_differ() -> None:
    first, second = epochs_of(list(range(N)), 5, 0, 2)
    assert first != second
    assert epochs_of(list(range(N)), 5, 1, 1)[0] != first


def test_without_a_seed_the_order_is_kept() -> None:
    positions = [7, 3, 19, 0, 4]
    assert epochs_of(positions, 2, None, 2) == [positions, positions]


def test_features_and_labels_stay_together() -> None:
    for x, y in batches_of(FEATURES, Y, list(range(N)), 6, seed=3, epochs=2):
        np.testing.assert_array_equal(x.numpy(), FEATURES[y.numpy() // 7])


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (256, [5])])
def test_batches_are_full_but_the_last_of_an_epoch(batch_size: int, sizes: list[int]) -> None:
    batches = batches_of(FEATURES, Y, range(5), batch_size, seed=0, epochs=2)
    assert [int(y.shape[0]) for _, y in batches] == sizes * 2
    assert int(batches.cardinality()) == len(sizes) * 2


VIEWED = np.arange(N * 4 * 3, dtype=np.float16).reshape(N * 4, 3)  # four views of each of N items


def picks_of(batch_size: int, seed: int | None, epochs: int, positions: list[int] | None = None) -> np.ndarray:
    """The view that each item was seen in, [epochs, items]."""
    chosen = list(range(N)) if positions is None else positions
    found = np.full((epochs, len(chosen)), -1)
    seen = 0
    for x, y in batches_of(VIEWED, Y, chosen, batch_size, seed, epochs, views=4):
        for row, item in zip((x.numpy()[:, 0] // 3).astype(int), y.numpy() // 7, strict=True):
            assert row // 4 == item
            found[seen // len(chosen), chosen.index(item)] = row % 4
            seen += 1
    assert (found >= 0).all()
    return found


def test_one_view_of_each_item_is_picked_by_seed_and_epoch() -> None:
    picks = picks_of(7, 3, 100)
    counts = np.bincount(picks.reshape(-1), minlength=4) / picks.size
    assert np.abs(counts - 0.25).max() < 0.03
    assert all(len(set(of_item)) == 4 for of_item in picks.T)
    np.testing.assert_array_equal(picks_of(19, 3, 2), picks[:2])
    assert (picks_of(7, 4, 1) != picks[:1]).any()


def test_without_a_seed_it_is_view_0() -> None:
    assert (picks_of(6, None, 2, [3, 0, 19]) == 0).all()


def test_the_view_of_an_item_is_not_tied_to_its_place_in_the_epoch() -> None:
    first = [int(x.numpy()[0, 0] // 3) % 4 for x, _ in batches_of(VIEWED, Y, range(N), N, 0, 300, views=4)]
    assert np.abs(np.bincount(first, minlength=4) / 300 - 0.25).max() < 0.1


def test_an_endless_stream_says_so() -> None:
    assert batches_of(FEATURES, Y, range(5), epochs=None).cardinality() == tf.data.INFINITE_CARDINALITY


def test_maps_come_as_float32_in_their_shape() -> None:
    maps = np.arange(4 * 2 * 2 * 3, dtype=np.float16).reshape(4, 2, 2, 3)
    [(x, y)] = list(batches_of(maps, np.arange(4), [3, 1]))
    assert (x.dtype, y.dtype, x.shape) == (tf.float32, tf.int64, (2, 2, 2, 3))
    np.testing.assert_array_equal(x.numpy(), maps[[3, 1]])


def test_no_positions_give_no_batches() -> None:
    assert list(batches_of(FEATURES, Y, [])) == []


def test_features_are_not_copied() -> None:
    features = aligned_room((4, 3), "float16")
    stream = batches_of(features, np.arange(4), range(4))
    features[:] = 7
    assert [x.numpy().tolist() for x, _ in stream] == [[[7.0] * 3] * 4]


@pytest.mark.parametrize(("shape", "rows"), [((1280,), 256), ((7, 7, 2048), 41), ((64, 64, 2048), 1)])
def test_batches_of_large_maps_have_fewer_rows(shape: tuple[int, ...], rows: int) -> None:
    assert rows_per_batch(shape) == rows
