"""Batches are the same for both formats, in memory or streamed, by one reader or many, from the beginning or from any position."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

import trainer
from scripts.made_set import MadeSet, made_space, new_set
from storage.errors import UsageError
from storage.names import SetName
from trainer.load import LoadOptions, Stream, open_stream
from trainer.position import Position

pytestmark = pytest.mark.slow

ITEMS = 60
Batches = list[tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]]
OPTIONS = LoadOptions(batch_size=7, epochs=2, seed=5)
HELD = 1 << 30


@pytest.fixture(scope="module", autouse=True)
def small_windows() -> Iterator[None]:
    """Windows of 16 items in blocks of 2, and shards of few items in row groups and chunks of other sizes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.shuffle_plan.WINDOW_BYTES", 16 * 16)
        patch.setattr("trainer.shuffle_plan.BLOCK_BYTES", 2 * 16)
        patch.setattr("storage.parquet.ROW_GROUP_BYTES", 5 * 16)
        patch.setattr("storage.hdf5.CHUNK_BYTES", 3 * 16)
        yield


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory, small_windows: None) -> dict[str, MadeSet]:
    """The same items in both formats: some share an image, shards hold other numbers of them and in another order."""
    return {kind: make(tmp_path_factory.mktemp("store"), kind, per_shard) for kind, per_shard in (("parquet", 11), ("hdf5", 17))}


def make(root: Path, kind: str, per_shard: int, views: tuple[str, ...] = ("plain", "flip", "crop:0.5-1:1-1")) -> MadeSet:
    space = made_space(views=views, view_seed=0 if len(views) > 1 else None)
    made = new_set(SetName(root / "store", "team", kind), space, kind, (4, 2))
    made.commit("photos", {f"{i:02d}.jpg": 2 * ((i * 7) % 55) + 1 for i in range(ITEMS)}, per_shard)
    return made


def opened(made: MadeSet, **changes: object) -> Stream:
    """In memory if so told, else streamed."""
    options = replace(OPTIONS, **changes)  # type: ignore[arg-type]
    found = open_stream(made.uri, options=options)
    return found if options.memory == HELD else replace(found, options=replace(options, memory=found.least_memory))


def read(stream: Stream, start: Position | None = None) -> Batches:
    return [(x.numpy(), y.numpy()) for x, y in stream.dataset(start)]


def same(one: Batches, other: Batches) -> bool:
    return len(one) == len(other) and all(
        a.tobytes() == b.tobytes() and a.shape == b.shape for pair in zip(one, other, strict=True) for a, b in zip(*pair, strict=True)
    )


@pytest.fixture(scope="module")
def expected(sets: dict[str, MadeSet]) -> Batches:
    return read(opened(sets["parquet"], memory=HELD))


@pytest.mark.parametrize(("kind", "memory", "readers"), [("hdf5", HELD, 1), *itertools.product(("parquet", "hdf5"), (1,), (1, 3))])
def test_batches_are_bit_for_bit_the_same(sets: dict[str, MadeSet], expected: Batches, kind: str, memory: int, readers: int) -> None:
    stream = opened(sets[kind], memory=memory, readers=readers)
    assert stream.in_memory == (memory == HELD)
    assert same(read(stream), expected)


def test_they_are_what_the_set_holds(sets: dict[str, MadeSet], expected: Batches) -> None:
    feature_set = sets["parquet"].open()
    stored = feature_set.embeddings(view=None)
    labels = feature_set.items["label"].to_pylist()
    by_value = {view.tobytes(): (labels[i], number) for i, item in enumerate(stored.astype(np.float32)) for number, view in enumerate(item)}
    seen = [(x.tobytes(), int(y)) for batch in expected for x, y in zip(*batch, strict=True)]
    assert len(seen) == 2 * ITEMS
    for value, y in seen:
        assert by_value[value][0] == f"label-{y}"
    assert {by_value[value][1] for value, _ in seen} == {0, 1, 2}
    assert [x.dtype for x, _ in expected[:1]] == [np.float32]


@pytest.mark.parametrize("memory", [1, HELD])
def test_a_stream_goes_on_from_any_batch(sets: dict[str, MadeSet], expected: Batches, memory: int) -> None:
    stream = opened(sets["hdf5"], memory=memory)
    for done in range(len(expected) + 1):
        position = Position.from_dict(json.loads(json.dumps(stream.position(done).to_dict())))
        rest = stream.dataset(position)
        assert int(rest.cardinality()) == len(expected) - done
        if done in (1, 2, 3, 8, 9, 13, 18):  # of epochs of 9 batches: where windows of 16 items begin, within, and where epochs do
            assert same(read(stream, position), expected[done:])
    assert stream.position(3, stream.position(8)) == stream.position(11) == Position(stream.digest, 5, 1, 2)


def test_a_position_at_the_end_of_an_epoch_is_the_begin_of_the_next(sets: dict[str, MadeSet], expected: Batches) -> None:
    stream = opened(sets["parquet"], memory=HELD)
    assert same(read(stream, Position(stream.digest, 5, 0, stream.batches)), expected[9:])


def test_formats_and_readers_have_one_digest_and_other_data_another(sets: dict[str, MadeSet], tmp_path: Path) -> None:
    digest = opened(sets["parquet"]).digest
    assert opened(sets["hdf5"], readers=4, epochs=None, seed=6, share=(0, 1), memory=HELD).digest == digest
    changes: list[dict[str, object]] = [{"batch_size": 8}, {"share": (0, 2)}, {"views": "plain"}, {"split": "train"}]
    others = [opened(sets["parquet"], **change).digest for change in changes]
    assert len({digest, *others}) == 5
    assert opened(sets["parquet"], share=(1, 2)).digest == others[1]  # a position of one trainer is that of all


@pytest.mark.parametrize("memory", [1, HELD])
def test_shares_take_each_item_once(sets: dict[str, MadeSet], memory: int) -> None:
    changes = {"views": "plain", "epochs": 1, "memory": memory}
    shares = [read(opened(sets["parquet"], share=(index, 3), **changes)) for index in range(3)]
    whole = read(opened(sets["parquet"], **changes))

    def values(batches: Batches) -> list[bytes]:
        return sorted(row.tobytes() for x, _ in batches for row in x)

    assert values([batch for share in shares for batch in share]) == values(whole)
    assert [sum(len(y) for _, y in share) for share in shares] == [20, 20, 20]


def test_without_shuffling_items_come_in_their_order_in_view_0(sets: dict[str, MadeSet]) -> None:
    for memory in (1, HELD):
        batches = read(opened(sets["hdf5"], shuffle=False, epochs=1, memory=memory))
        x = np.concatenate([x for x, _ in batches])
        np.testing.assert_array_equal(x, sets["hdf5"].open().embeddings())


def test_labels_of_a_file_and_a_split_of_its_own(sets: dict[str, MadeSet], write_csv: Callable[..., Path]) -> None:
    rows = [[f"{i:02d}.jpg", "even" if i % 2 == 0 else "odd", "test" if i < 10 else "train"] for i in range(30)]
    labels = write_csv(["key", "label", "split"], *rows)
    stream = open_stream(sets["parquet"].uri, labels, LoadOptions(split="test", shuffle=False, batch_size=4))
    assert stream.classes == ("even", "odd")
    assert (stream.rows, stream.batches) == (10, 3)
    found = [(x.numpy(), y.numpy()) for x, y in trainer.load(sets["parquet"].uri, labels, stream.options)]
    assert np.concatenate([y for _, y in found]).tolist() == [0, 1] * 5
    np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), sets["parquet"].open().embeddings(range(10)))
    with pytest.raises(UsageError, match="the split validation has no item of the 30 that have a label"):
        open_stream(sets["parquet"].uri, labels, LoadOptions(split="val", validation=0))


def test_splits_by_hash_part_the_items(sets: dict[str, MadeSet], tmp_path: Path) -> None:
    made = sets["parquet"]
    keys = made.open().items["key"].to_pylist()
    labels = tmp_path / "labels.csv"
    labels.write_text("key,label\n" + "".join(f"{key},{i % 2}\n" for i, key in enumerate(keys)))
    parts = [open_stream(made.uri, labels, LoadOptions(split=name)).chosen for name in ("train", "validation", "test")]
    assert sorted(np.concatenate(parts)) == list(range(ITEMS))
    assert all(len(part) for part in parts)


def test_positions_of_other_streams_are_refused_in_words(sets: dict[str, MadeSet]) -> None:
    stream = opened(sets["parquet"], memory=HELD)
    own = stream.position(2)
    for start, message in (
        (replace(own, dataset="f" * 64), r"the position is of another dataset \(ffffffffffff, this one is .*begin anew without start"),
        (replace(own, seed=6, dataset="f" * 64), "the position is of the order by seed 6, this stream has 5: pass the same seed"),
        (replace(own, batch=10), "the position is at batch 10, an epoch has 9"),
    ):
        with pytest.raises(UsageError, match=message):
            stream.dataset(start)
    with pytest.raises(UsageError, match="the batch of a position must be a number from 0 on, got -1"):
        Position("f", 0, 0, -1)
    with pytest.raises(UsageError, match="a position has dataset, seed, epoch and batch; got epoch"):
        Position.from_dict({"epoch": 1})


def test_too_little_memory_is_refused_in_words(sets: dict[str, MadeSet]) -> None:
    stream = open_stream(sets["parquet"].uri, options=replace(OPTIONS, memory=1000))
    with pytest.raises(UsageError, match=r"memory of 1,000 bytes is too little: .* batches of 7 .* take [\d,]+\. Allow that"):
        stream.dataset()
    replace(stream, options=replace(OPTIONS, memory=stream.least_memory)).dataset()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "tests"}, "unknown split 'tests'"),
        ({"share": (2, 2)}, "a share is"),
        ({"batch_size": 0}, "batch_size must be a number from 1 on, got 0"),
        ({"memory": 1.5}, "memory must be a whole number; got 1.5"),
        ({"epochs": -1}, "epochs must be a number from 0 on"),
        ({"readers": 0}, "readers must be a number from 1 on"),
        ({"views": "all"}, "views must be one of"),
        ({"seed": -1}, "seed must be from 0"),
    ],
)
def test_options_that_are_wrong_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LoadOptions(**changes)  # type: ignore[arg-type]


def test_an_endless_stream_says_so_and_no_epochs_give_no_batches(sets: dict[str, MadeSet], expected: Batches) -> None:
    stream = opened(sets["parquet"], epochs=None, memory=HELD)
    assert stream.dataset().cardinality() == tf.data.INFINITE_CARDINALITY
    rest = stream.dataset(stream.position(9)).take(9)
    assert same([(x.numpy(), y.numpy()) for x, y in rest], expected[9:])
    assert read(opened(sets["parquet"], epochs=0, memory=HELD)) == []


def test_an_endless_stream_of_nothing_is_refused(sets: dict[str, MadeSet]) -> None:
    stream = opened(sets["parquet"], epochs=None, memory=HELD, share=(0, ITEMS + 1))
    with pytest.raises(UsageError, match=r"the share \(0, 61\) of 60 items is empty, .*: take fewer shares, or a number of epochs"):
        stream.dataset()
    assert read(opened(sets["parquet"], memory=HELD, share=(0, ITEMS + 1))) == []


def test_damage_is_told_while_it_streams(tmp_path: Path) -> None:
    made = make(tmp_path, "parquet", 11)
    stream = opened(made, memory=1)
    assert not stream.in_memory
    dataset = stream.dataset()
    for path in (Path(made.folder) / "shards").iterdir():
        path.unlink()
    with pytest.raises(tf.errors.UnknownError, match=r"DamagedError: the shard .* is listed but is not there"):
        list(dataset)


def test_a_position_beyond_the_end_is_told(sets: dict[str, MadeSet]) -> None:
    stream = opened(sets["parquet"], epochs=2, memory=HELD)
    assert list(stream.dataset(stream.position(2 * stream.batches))) == []
    with pytest.raises(UsageError, match="beyond the 2 epochs asked for"):
        stream.dataset(stream.position(2 * stream.batches + 1))
