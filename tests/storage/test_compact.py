"""A compacted set is the same set in fewer files: nothing is lost, nothing is computed, old versions stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import storage.compact
from scripts.made_set import MadeSet
from scripts.s3_server import new_bucket
from storage.changes import remove
from storage.compact import compact_set
from storage.compact_plan import Live, to_merge
from storage.errors import ConflictError, DamagedError, UsageError
from storage.expire import expire_versions
from storage.files import FileEntry
from storage.files import remove as remove_file
from storage.gc import collect_garbage
from storage.index import committed_index
from storage.items import write_items
from storage.store import init_store
from storage.verify import verify_set
from storage.versions import list_versions
from tests.storage.places import places_in

FULL = 6 * 4  # bytes of four embeddings: the size that shards should have in these tests
FORMATS = pytest.mark.parametrize("shard_format", ["parquet", "hdf5"])
PICTURES = {f"k{i}": i for i in range(9)}


def expect(made: MadeSet, pictures: dict[str, int], at: str | None = None) -> None:
    keys, values = made.open(at).to_numpy(view=None)
    assert keys == sorted(pictures)
    np.testing.assert_array_equal(values.reshape(-1, 3), made.embeddings([pictures[key] for key in keys]))


@FORMATS
def test_small_shards_become_few_and_what_nobody_needs_is_left_out(make_set: Callable[..., MadeSet], shard_format: str) -> None:
    made = make_set(shard_format=shard_format)
    made.commit("one", PICTURES, per_shard=1, rejected=["bad"])
    remove(made.uri, ["k4"])
    told = compact_set(made.name, do_it=False, shard_bytes=FULL)
    assert (told.version, list_versions(made.folder)) == (None, [1, 2])
    done = compact_set(made.name, do_it=True, shard_bytes=FULL)
    assert (done.before.files, done.after.files, done.merged, done.dropped, done.version) == (8, 2, 8, 0, 3)
    assert (told.after.files, told.after.embeddings) == (2, 8)
    assert done.after.bytes < done.before.bytes
    left = {key: picture for key, picture in PICTURES.items() if key != "k4"}
    expect(made, left)
    expect(made, PICTURES, "1")
    assert made.open().manifest.counts["listed"] == 9
    assert verify_set(made.name, full=True).sound
    assert compact_set(made.name, do_it=True, shard_bytes=FULL).version is None, "there is nothing left to do"


@FORMATS
def test_views_stay_together_and_dead_rows_go(make_set: Callable[..., MadeSet], shard_format: str) -> None:
    made = make_set(shard_format=shard_format, views=("plain", "flip"))
    made.commit("one", PICTURES, per_shard=3)
    remove(made.uri, ["k1", "k8"])
    done = compact_set(made.name, do_it=True, shard_bytes=4 * FULL)
    assert (done.dropped, done.after.files, done.after.embeddings) == (4, 1, 14)
    expect(made, {key: picture for key, picture in PICTURES.items() if key not in ("k1", "k8")})
    expire_versions(made.name, 1, None, remove_them=True)
    collect_garbage(made.name, delete=True, grace_seconds=-1)
    assert len(places_in(committed_index(made.name))) == 7
    expect(made, {key: picture for key, picture in PICTURES.items() if key not in ("k1", "k8")})


@pytest.mark.slow
def test_a_set_in_a_bucket_is_compacted(server: str, own_cache: None, make_set: Callable[..., Any]) -> None:
    place = new_bucket(server)
    init_store(place)
    made = make_set(root=place)
    made.commit("one", PICTURES, per_shard=1)
    assert compact_set(made.name, do_it=True, shard_bytes=FULL).after.files == 3
    expect(made, PICTURES)
    assert verify_set(made.name, full=True).sound


@pytest.mark.slow
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(
    corpora=st.lists(st.dictionaries(st.sampled_from([*PICTURES]), st.integers(0, 9), min_size=1), min_size=1, max_size=3),
    per_shard=st.integers(1, 4),
    full=st.integers(1, 6),
)
def test_each_item_keeps_its_embedding(make_set: Callable[..., MadeSet], corpora: list[dict[str, int]], per_shard: int, full: int) -> None:
    made = make_set()
    for number, pictures in enumerate(corpora):
        made.commit(f"c{number}", pictures, per_shard)
    if len(corpora[0]) > 1:
        remove(made.uri, [min(corpora[0])], corpus="c0")
    before = made.open()
    done = compact_set(made.name, do_it=True, shard_bytes=6 * full)
    after = made.open()
    assert after.to_numpy()[1].tobytes() == before.to_numpy()[1].tobytes()
    said = [name for name in before.items.column_names if name not in ("shard", "row")]
    assert after.items.select(said).to_pylist() == before.items.select(said).to_pylist()
    assert compact_set(made.name, do_it=False, shard_bytes=6 * full).dropped == 0
    assert done.after.files <= max(done.before.files, done.after.embeddings // full + 1)  # a shard of many times the size is split


@pytest.mark.parametrize(
    ("rows", "live", "merged"),
    [
        ([4, 4], [4, 4], []),
        ([4, 1], [4, 1], []),  # alone
        ([1, 4, 1], [1, 4, 1], [0, 2]),
        ([4, 4], [4, 3], [1]),
        ([2, 2, 1], [2, 2, 1], []),  # halves are large enough
        ([4, 1], [3, 1], [0, 1]),
    ],
)
def test_what_is_worth_writing_anew(rows: list[int], live: list[int], merged: list[int]) -> None:
    shards = [Live(FileEntry("", str(i), 1, n), np.arange(count)) for i, (n, count) in enumerate(zip(rows, live, strict=True))]
    assert to_merge(shards, 1, 4) == [shards[i] for i in merged]


def test_who_writes_the_same_items_later_finds_that_nothing_has_changed(make_set: Callable[..., MadeSet]) -> None:
    """As an extraction of an unchanged folder does, with its dictionaries in columns."""
    made = make_set()
    made.commit("one", PICTURES, per_shard=1)
    compact_set(made.name, do_it=True, shard_bytes=FULL)
    assert write_items([made.open().items], made.folder) == made.open().manifest.corpora["one"].items


@pytest.mark.parametrize("harm", ["damaged", "gone"])
def test_a_damaged_shard_is_told_and_nothing_is_committed(make_set: Callable[..., MadeSet], harm: str) -> None:
    made = make_set()
    manifest = made.commit("one", PICTURES, per_shard=2)
    path = made.folder / manifest.shards[2].path
    path.write_bytes(path.read_bytes()[:-9] + b"123456789") if harm == "damaged" else path.unlink()
    with pytest.raises(DamagedError):
        compact_set(made.name, do_it=True, shard_bytes=6 * 9)
    assert list_versions(made.folder) == [1]


def test_a_shard_that_left_while_it_was_copied_is_a_conflict(make_set: Callable[..., MadeSet], monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a takedown rewrites it: what was copied before must not come back."""
    made = make_set()
    manifest = made.commit("one", PICTURES, per_shard=2)
    real = storage.compact._move

    def move(*given: Any) -> Any:
        moves = real(*given)
        remove_file(made.folder / manifest.shards[0].path)
        return moves

    monkeypatch.setattr(storage.compact, "_move", move)
    with pytest.raises(ConflictError, match="has left the set while its rows were copied"):
        compact_set(made.name, do_it=True, shard_bytes=6 * 9)
    assert list_versions(made.folder) == [1]


def test_a_version_in_the_name_is_refused(make_set: Callable[..., MadeSet]) -> None:
    with pytest.raises(UsageError, match="leave out '@1'"):
        compact_set(replace(make_set().name, at="1"), do_it=False)
