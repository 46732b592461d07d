"""What holds for every plan: epochs are permutations, shares part them, and any piece is what it is in the whole."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import UsageError
from trainer.shuffle_plan import BLOCK_BYTES, WINDOW_BYTES, Share, ShufflePlan, permutation

PLANS = st.builds(
    ShufflePlan, st.integers(0, 70), st.integers(1, 9), st.integers(1, 25), st.none() | st.integers(0, 2**31 - 1), st.just(Share())
)
EPOCHS = st.integers(0, 1000)


def epoch_of(plan: ShufflePlan, epoch: int) -> list[int]:
    return plan.order(epoch, 0, plan.size).tolist()


@given(PLANS, EPOCHS)
def test_each_epoch_is_a_permutation(plan: ShufflePlan, epoch: int) -> None:
    assert sorted(epoch_of(plan, epoch)) == list(range(plan.items))
    assert plan.seed is not None or epoch_of(plan, epoch) == list(range(plan.items))


@given(PLANS, EPOCHS, st.integers(1, 9))
def test_shares_take_each_item_once_and_are_as_large_as_each_other(plan: ShufflePlan, epoch: int, count: int) -> None:
    shares = [replace(plan, share=Share(index, count)) for index in range(count)]
    assert sorted(item for share in shares for item in epoch_of(share, epoch)) == list(range(plan.items))
    assert max(share.size for share in shares) - min(share.size for share in shares) <= 1


@given(PLANS, EPOCHS, st.data())
def test_a_piece_of_an_epoch_is_that_piece_of_the_whole(plan: ShufflePlan, epoch: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 3))
    plan = replace(plan, share=Share(data.draw(st.integers(0, count - 1)), count))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, plan.size), st.integers(0, plan.size))))
    assert plan.order(epoch, start, stop).tolist() == epoch_of(plan, epoch)[start:stop]


@given(PLANS, st.integers(1, 30))
def test_segments_cover_all_batches_and_end_where_windows_do(plan: ShufflePlan, batch_size: int) -> None:
    borders = plan.segments(batch_size).tolist()
    assert borders[0] == 0
    assert borders[-1] == -(-plan.size // batch_size)
    assert borders == sorted(set(borders))
    for first, last in pairwise(borders):
        windows = {batch * batch_size // plan.window for batch in range(first, last)}
        assert len(windows) == 1  # all begin in one


@given(PLANS, EPOCHS, st.integers(1, 5))
def test_the_view_of_an_item_depends_on_seed_and_epoch_alone(plan: ShufflePlan, epoch: int, views: int) -> None:
    items = np.arange(plan.items)
    whole = plan.views(epoch, items, views)
    assert set(whole.tolist()) <= set(range(views if plan.seed is not None else 1))
    other = replace(plan, block=plan.block + 1, window=plan.window + 1, items=plan.items + 1)
    assert (other.views(epoch, items[::-1], views)[::-1] == whole).all()


def test_what_is_read_together_is_few_blocks() -> None:
    plan = ShufflePlan(items=10_000, block=10, window=1000, seed=3)
    for window in range(10):
        items = plan.order(0, 1000 * window, 1000 * (window + 1))
        assert len(set((items // 10).tolist())) == 100
        assert not np.array_equal(items, np.sort(items))


def test_epochs_seeds_and_windows_differ() -> None:
    plan = ShufflePlan(1000, 4, 100, 1)
    assert epoch_of(plan, 0) != epoch_of(plan, 1) != epoch_of(replace(plan, seed=2), 1)
    one, other = plan.order(0, 0, 100), plan.order(0, 100, 200)
    assert (np.argsort(one) != np.argsort(other)).any()


def test_orders_stay_what_they_are() -> None:
    """A position saved by one release is gone on from by the next: a change here takes another STREAM_VERSION."""
    assert permutation(10, 1, 2, 3).tolist() == [1, 8, 3, 9, 4, 5, 0, 2, 7, 6]
    assert ShufflePlan(11, 2, 5, 7).order(3, 0, 11).tolist() == [0, 7, 8, 1, 6, 2, 4, 10, 9, 3, 5]


def test_every_order_is_as_likely() -> None:
    counts = np.zeros((6, 6))
    for epoch in range(3000):
        counts[np.arange(6), permutation(6, 0, epoch)] += 1
    assert np.abs(counts / 3000 - 1 / 6).max() < 0.035  # five standard errors


@pytest.mark.parametrize(
    ("width", "block", "window"), [(4096, 32, 4096), (2560, 32, 4096), (16, 8192, 1 << 20), (200_704, 1, 64), (1 << 30, 1, 1)]
)
def test_sizes_follow_from_bytes(width: int, block: int, window: int) -> None:
    plan = ShufflePlan.of(5, width, 0)
    assert (plan.block, plan.window) == (block, window)
    assert window == 1 or window * width <= WINDOW_BYTES
    assert block == 1 or block * width <= BLOCK_BYTES


@pytest.mark.parametrize("share", [(1, 1), (-1, 2), (0, 0), (0.0, 1), (True, 2)])
def test_a_share_that_is_none_is_refused(share: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="a share is"):
        Share(*share)
