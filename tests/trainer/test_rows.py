"""Blocks of features: those of the store are those of memory, in the order of the shards, whatever the borders of the blocks."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

from scripts.made_set import MadeSet, made_space, new_set
from storage.names import SetName
from storage.shard import SHARD_FORMATS
from storage.store import init_store
from trainer.rows import StoredRows, vectors

PICTURES = {f"{i:02d}.jpg": (i * 7) % 30 for i in range(36)}  # some twice, and shards hold them in another order than items have
POSITIONS = np.arange(1, 36)
SHAPE = (2, 16)


@pytest.fixture(scope="module", params=SHARD_FORMATS)
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> MadeSet:
    root = tmp_path_factory.mktemp("rows")
    init_store(root)
    made = new_set(SetName(root, "team", "set"), made_space(views=["plain", "flip"]), request.param, SHAPE)
    made.commit("photos", PICTURES, per_shard=9)
    return made


@pytest.mark.parametrize("every_view", [False, True])
@pytest.mark.parametrize("items_per_block", [1, 4, 100])
def test_each_item_comes_once_with_its_own_features(made: MadeSet, items_per_block: int, every_view: bool) -> None:
    feature_set = made.open()
    views = 2 if every_view else 1
    rows = StoredRows(feature_set, POSITIONS, 2, items_per_block * views * 4 * 32)
    numbers = np.arange(0, 35, 2)
    everything = feature_set.embeddings(view=None)[POSITIONS][:, :views]
    seen = []
    for part, block in rows.blocks(numbers, every_view):
        np.testing.assert_array_equal(block, everything[part])
        assert len(part) <= items_per_block
        seen += part.tolist()
    assert sorted(seen) == numbers.tolist()


def test_each_shard_is_read_once_front_to_back(made: MadeSet) -> None:
    feature_set = made.open()
    parts = [part for part, _ in StoredRows(feature_set, POSITIONS, 2, 4 * 32 * 4).blocks(np.arange(35))]
    items = feature_set.columns("shard", "row").take(POSITIONS[np.concatenate(parts)])
    shards = items["shard"].to_pylist()
    assert sum(one != other for one, other in pairwise(shards)) == len(set(shards)) - 1
    for shard in set(shards):
        assert (np.diff(items["row"].to_numpy()[np.array(shards) == shard]) >= 0).all()


def test_vectors_that_are_kept_are_not_written_over(made: MadeSet) -> None:
    feature_set = made.open()
    kept = list(vectors(StoredRows(feature_set, POSITIONS, 1, 4 * 32 * 4), np.arange(35)))
    found = tf.concat([block for _, block in kept], 0).numpy()
    numbers = np.concatenate([part for part, _ in kept])
    np.testing.assert_array_equal(found, feature_set.embeddings(POSITIONS[numbers]).reshape(35, -1).astype(np.float32))


def test_no_items_are_no_blocks(made: MadeSet) -> None:
    assert not list(StoredRows(made.open(), POSITIONS).blocks(np.arange(0)))


def test_a_pass_that_ends_early_leaves_no_thread(made: MadeSet) -> None:
    blocks = StoredRows(made.open(), POSITIONS, 1, 4 * 32).blocks(np.arange(35))
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("permafrost-block")]
