"""Reading rows again and again in any order: what comes is what the set holds, whatever the number of readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.made_set import MadeSet
from scripts.s3_server import new_bucket
from storage.errors import ConflictError, DamagedError
from storage.manifest import Manifest
from storage.shard import SHARD_FORMATS
from storage.shard_cache import cache_folder
from storage.store import init_store

pytestmark = pytest.mark.slow

PICTURES = {f"{i:02d}.jpg": (i * 7) % 30 for i in range(36)}  # some twice, and shards hold them in another order than items have
POSITIONS = np.arange(1, 36)
NUMBERS = st.lists(st.tuples(st.integers(0, len(POSITIONS) - 1), st.integers(0, 1)), max_size=60)


@pytest.fixture(scope="module")
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.parquet.ROW_GROUP_BYTES", 64)
        patch.setattr("storage.hdf5.CHUNK_BYTES", 160)
        yield


@pytest.fixture(scope="module", params=SHARD_FORMATS)
def made(make_set: Callable[..., MadeSet], small_blocks: None, request: pytest.FixtureRequest) -> MadeSet:
    made = make_set((2, 3), shard_format=request.param, views=("plain", "flip"))
    made.commit("photos", PICTURES, per_shard=9)
    return made


@given(NUMBERS, st.integers(1, 5))
def test_any_rows_in_any_order_are_what_the_set_holds(made: MadeSet, asked: list[tuple[int, int]], readers: int) -> None:
    feature_set = made.open()
    numbers, views = (np.array([pair[i] for pair in asked], np.int64) for i in range(2))
    reader = feature_set.row_reader(POSITIONS, readers)
    out = np.full((len(asked) + 2, *feature_set.shape), 7, reader.layout.dtype)
    place = reader.read(numbers, views, out)
    assert sorted(place) == list(range(len(asked)))
    everything = feature_set.embeddings(view=None)
    np.testing.assert_array_equal(out[place], everything[POSITIONS[numbers], views])
    assert (out[len(asked) :] == 7).all()


def test_shards_are_read_in_the_order_of_the_file(made: MadeSet) -> None:
    reader = made.open().row_reader(POSITIONS)
    place = reader.read(np.arange(35)[::-1], 0, np.empty((35, 2, 3), "float16"))
    items = made.open().columns("shard", "row").take(POSITIONS[::-1])
    shards, rows = items["shard"].combine_chunks().indices.to_numpy(), items["row"].to_numpy()
    in_order = np.argsort(place)
    assert sorted(zip(shards, rows, strict=True)) == list(zip(shards[in_order], rows[in_order], strict=True))


@pytest.mark.parametrize("kind", SHARD_FORMATS)
def test_damage_is_told(make_set: Callable[..., MadeSet], kind: str) -> None:
    made = make_set(shard_format=kind)
    [shard] = made.commit("photos", {f"{i}.jpg": i for i in range(5)}, per_shard=9).shards
    reader, out = made.open().row_reader(range(5)), np.empty((5, 3), "float16")
    reader.read(np.arange(5), 0, out)
    path = Path(made.folder / shard.path)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DamagedError, match=r"the shard .* is damaged \(EOFError: it ends before byte"):
        reader.read(np.arange(5), 0, out)
    path.unlink()
    with pytest.raises(DamagedError, match="is listed but is not there"):
        reader.read(np.arange(5), 0, out)


@pytest.mark.parametrize(("view", "row"), [(4, 8), (-5, -1)])
def test_an_item_that_points_outside_its_shard_is_damage(make_set: Callable[..., MadeSet], view: int, row: int) -> None:
    made = make_set()
    made.commit("photos", {f"{i}.jpg": i for i in range(5)}, per_shard=9)
    with pytest.raises(DamagedError, match=f"an item points at row {row} of shard .*, which has 5 rows: its item file is damaged"):
        made.open().row_reader(range(5)).read(np.array([4]), view, np.empty((1, 3), "float16"))


def test_a_version_that_was_rewritten_is_told_for_what_it_is(make_set: Callable[..., MadeSet], monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_set()
    [shard] = made.commit("photos", {"one.jpg": 1}).shards
    reader = made.open().row_reader([0])
    Path(made.folder / shard.path).unlink()
    other = made.open().manifest

    def rewritten(*_: object) -> Manifest:
        return Manifest(**{**vars(other), "nonce": "f" * 32})

    monkeypatch.setattr("storage.rewritten.read_manifest", rewritten)
    with pytest.raises(ConflictError, match="was rewritten since it was opened"):
        reader.read(np.array([0]), 0, np.empty((1, 3), "float16"))


@pytest.mark.usefixtures("own_cache")
def test_rows_of_a_bucket_come_through_the_cache(server: str, make_set: Callable[..., MadeSet]) -> None:
    place = new_bucket(server)
    init_store(place)
    made = make_set(root=place)
    [shard] = made.commit("photos", {f"{i}.jpg": i for i in range(5)}, per_shard=9).shards
    reader, out = made.open().row_reader(range(5)), np.empty((5, 3), "float16")
    for evicted in (False, True):
        if evicted:
            for path in cache_folder().glob(f"*/{shard.sha256}.*"):
                path.unlink()
        np.testing.assert_array_equal(out[reader.read(np.arange(5), 0, out)], made.embeddings(range(5)))
