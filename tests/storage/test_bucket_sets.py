"""A set in a bucket is a set: committed, read, compared, verified and mended as on a disk."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import storage
from scripts.damaged_sets import flip_a_bit
from scripts.made_set import MadeSet
from scripts.s3_server import new_bucket
from storage.begun import begun_golden
from storage.bucket import Bucket
from storage.catalog import list_manifests, list_sets
from storage.changes import remove as remove_items
from storage.commit import commit, create_set
from storage.digests import DigestMap, words_of
from storage.errors import ConflictError, DamagedError, NotFoundError, PermafrostError, UsageError
from storage.files import list_names, read_bytes, remove, write_atomic
from storage.gc import collect_garbage
from storage.golden import write_golden
from storage.lending import copy_embeddings, find_lenders
from storage.names import parse_root
from storage.place import RemotePlace
from storage.repair import repair_set
from storage.run_watch import cancel_run, run_statuses
from storage.runs import RunFolder
from storage.shard import shard_format
from storage.shard_cache import cache_folder
from storage.shard_layout import ShardLayout
from storage.store import init_store, require_store
from storage.tags import move_tag
from storage.verify import verify_set
from storage.version_diff import diff_versions
from storage.versions import list_versions

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]


@pytest.fixture
def bucket(server: str) -> RemotePlace:
    place = new_bucket(server)
    init_store(place)
    return place


@pytest.fixture(params=["parquet", "hdf5"])
def made(request: pytest.FixtureRequest, bucket: Any, make_set: Callable[..., MadeSet]) -> MadeSet:
    return make_set(shard_format=request.param, root=bucket)


def expect(made: MadeSet, pictures: dict[str, int], at: str | None = None) -> None:
    keys, embeddings = made.open(at).to_numpy()
    assert keys == sorted(pictures)
    np.testing.assert_array_equal(embeddings, np.stack([made.embedding(pictures[key]) for key in keys]))


def test_a_set_larger_than_the_cache_is_read_and_told_of_once(
    bucket: RemotePlace, make_set: Callable[..., MadeSet], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = make_set(root=bucket)
    shards = made.commit("photos", {f"{i}": i for i in range(8)}).shards
    size = sum(entry.bytes for entry in shards)
    monkeypatch.setenv("PERMAFROST_CACHE_BYTES", str(size))
    reader = made.open().row_reader(range(8))
    assert caplog.messages == []
    monkeypatch.setenv("PERMAFROST_CACHE_BYTES", str(size - 1))
    for _ in range(2):
        list(made.open().batches())
        made.open().row_reader(range(8))
    assert len(caplog.messages) == 1
    assert f"the shards of {made.folder} take" in caplog.text
    assert "fetches them again. Set PERMAFROST_CACHE_BYTES to" in caplog.text
    assert reader.layout.shape == made.description.shape


def test_what_is_committed_is_read(made: MadeSet) -> None:
    made.commit("photos", {f"{i}": i for i in range(8)}, rejected=["bad"])
    made.commit("photos", {"1": 1, "new": 9})
    expect(made, {f"{i}": i for i in range(8)}, "1")
    expect(made, {"1": 1, "new": 9})
    feature_set = storage.open(str(made.name))
    assert feature_set.version == 2
    assert storage.open(f"{made.name}@1").rejects["key"].to_pylist() == ["bad"]
    assert sum(len(batch.keys) for batch in storage.open(f"{made.name}@1").batches(3)) == 8
    assert [len(golden.names) for golden in [feature_set.golden()]] == [len(feature_set.golden().images)]


def test_it_is_listed(made: MadeSet, bucket: RemotePlace) -> None:
    made.commit("photos", {"a": 1})
    [summary] = list_sets(bucket)
    assert (summary.name, summary.version, summary.rows) == ("team/set", 1, 1)
    assert [manifest.version for manifest in list_manifests(str(made.name))] == [1]
    with pytest.raises(NotFoundError, match="no feature set team/other in s3://"):
        storage.open(f"{bucket}/team/other")


def test_a_bucket_that_is_not_there_is_told_at_once(server: str) -> None:
    with pytest.raises(PermafrostError, match="there is no bucket s3://nowhere"):
        init_store(parse_root("s3://nowhere/main"))


def test_a_bucket_without_a_store_is_told_with_the_command_that_makes_one(server: str) -> None:
    place = new_bucket(server)
    with pytest.raises(NotFoundError, match="permafrost store init s3://"):
        require_store(place)
    with pytest.raises(NotFoundError, match="permafrost store init s3://"):
        storage.open(f"{place}/team/set")


def test_making_a_store_twice_keeps_it_and_leaves_no_probe(server: str) -> None:
    place = new_bucket(server)
    first = init_store(place)
    assert init_store(place) == first
    assert first["backend"] == {"kind": "bucket", "exclusive_create": True}
    assert list_names(place) == ["permafrost.json"]
    with pytest.raises(UsageError, match=r"/team is a folder of the store s3://"):
        init_store(place / "team")


def test_many_writers_of_many_corpora_all_land(made: MadeSet) -> None:
    start = threading.Barrier(6)

    def write(number: int) -> int:
        start.wait()
        return made.commit(f"corpus {number}", {f"{number}/{i}": 10 * number + i for i in range(3)}).version

    with ThreadPoolExecutor(6) as pool:
        versions = list(pool.map(write, range(6)))
    assert sorted(versions) == [1, 2, 3, 4, 5, 6] == list_versions(made.folder)
    expect(made, {f"{number}/{i}": 10 * number + i for number in range(6) for i in range(3)})


def test_writers_of_one_corpus_have_one_winner(made: MadeSet) -> None:
    drafts = [made.draft("photos", {"a": i}) for i in range(5)]
    start = threading.Barrier(5)

    def write(number: int) -> bool:
        start.wait()
        try:
            commit(made.name, None, drafts[number], "photos")
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(5) as pool:
        won = list(pool.map(write, range(5)))
    assert sum(won) == 1
    expect(made, {"a": won.index(True)})


def test_shards_are_fetched_once_and_checked(made: MadeSet) -> None:
    made.commit("photos", {"a": 1, "b": 2})
    expect(made, {"a": 1, "b": 2})
    [shard] = made.open().manifest.shards
    write_atomic(made.folder / shard.path, b"x" * shard.bytes)
    expect(made, {"a": 1, "b": 2})
    for path in cache_folder().glob("*/*"):
        path.unlink()
    with pytest.raises(DamagedError, match="sha256"):
        made.open().to_numpy()


def test_tags_days_and_differences(made: MadeSet) -> None:
    made.commit("photos", {"a": 1, "b": 2})
    move_tag(made.name, "prod")
    made.commit("photos", {"b": 1, "c": 3})
    assert made.open("prod").version == 1
    assert made.open("2100-01-01").version == 2
    assert diff_versions(made.open("prod"), made.open()).counts == {"added": 1, "removed": 1, "changed": 1, "renamed": 0, "relabelled": 0}


def test_it_is_verified_and_mended_from_a_copy(made: MadeSet, server: str) -> None:
    made.commit("photos", {f"{i}": i for i in range(8)})
    copy = new_bucket(server)
    for name in ("permafrost.json", *(f"team/set/{entry.path}" for entry in made.open().manifest.files), "team/set/set.json"):
        write_atomic(copy / name, read_bytes(made.name.root / name))
    assert verify_set(made.name, full=True).sound
    one, other = made.open().manifest.shards[:2]
    write_atomic(made.folder / one.path, b"x" * one.bytes)
    remove(made.folder / other.path)
    assert [finding.kind for finding in verify_set(made.name, full=True).findings] == ["damaged", "missing"]
    assert [finding.kind for finding in verify_set(made.name, full=False).findings] == ["missing"]
    repair = repair_set(made.name, [copy])
    assert (len(repair.mended), repair.left.sound) == (2, True)
    expect(made, {f"{i}": i for i in range(8)})


def test_a_copy_in_this_machines_cache_that_has_changed_is_dropped_and_told(made: MadeSet) -> None:
    made.commit("photos", {f"{i}": i for i in range(8)})
    expect(made, {f"{i}": i for i in range(8)})
    entry = made.open().manifest.shards[0]
    [path] = cache_folder().glob(f"*/{entry.sha256}.*")
    flip_a_bit(path, random.Random(0))
    assert verify_set(made.name, full=False).findings == ()
    found = verify_set(made.name, full=True)
    assert [(finding.kind, finding.path, finding.is_damage) for finding in found.findings] == [("cached", entry.path, False)]
    assert (found.sound, path.exists()) == (True, False)
    assert verify_set(made.name, full=True).findings == ()
    expect(made, {f"{i}": i for i in range(8)})


def test_a_changed_copy_in_the_cache_is_fetched_again_before_it_is_rewritten(made: MadeSet) -> None:
    made.commit("photos", {f"{i}": i for i in range(8)})
    assert made.open().items.num_rows == 8
    [entry] = made.open().manifest.corpora["photos"].items
    [path] = cache_folder().glob(f"*/{entry.sha256}.*")
    flip_a_bit(path, random.Random(0))
    remove_items(made.uri, ["3"])
    expect(made, {f"{i}": i for i in range(8) if i != 3})
    assert verify_set(made.name, full=True).findings == ()


def test_a_lost_version_in_a_bucket_is_found_and_given_up(made: MadeSet) -> None:
    made.commit("photos", {"a": 1})
    made.commit("photos", {"b": 2})
    write_atomic(made.folder / "shards" / "sub" / "stray.parquet", b"x")
    remove(made.folder / "versions" / "00000002.json")
    with pytest.raises(DamagedError, match=r"version 2 of .* should be there"):
        collect_garbage(made.name, delete=True, grace_seconds=-1)
    assert repair_set(made.name, give_up=True).version == 3
    assert collect_garbage(made.name, delete=True, grace_seconds=-1).files != ()
    assert [(finding.kind, finding.path) for finding in verify_set(made.name, full=True).findings] == [("unlisted", "shards/sub")]
    expect(made, {"a": 1})


def test_a_set_on_a_disk_borrows_from_one_in_a_bucket(made: MadeSet, bucket: RemotePlace, make_set: Callable[..., MadeSet]) -> None:
    made.commit("photos", {"a": 1, "b": 2})
    mine = make_set()
    [lender] = find_lenders(mine.name, mine.description.space, [bucket])
    wanted = DigestMap()
    wanted.add(words_of([mine.digest(picture) for picture in (1, 2, 3)]))
    layout = ShardLayout(mine.description.shape, mine.description.dtype, mine.description.space.id)
    [copied] = copy_embeddings(wanted, [lender], mine.name, shard_format("parquet"), layout)
    assert set(copied.digests) == {mine.digest(1), mine.digest(2)}
    assert (Path(str(mine.folder)) / copied.shard.path).stat().st_size == copied.shard.bytes


def test_the_golden_images_of_a_set_that_was_only_begun_are_found(made: MadeSet) -> None:
    write_golden(made.golden_images(), made.folder)
    assert [golden.names for golden in begun_golden(made.name)] == [("small.png", "large.jpg")]


def test_runs_are_watched_and_stopped(made: MadeSet) -> None:
    run = RunFolder(made.folder, "20261127T120000Z-00000000")
    run.write_plan({"units": []})
    run.write_heartbeat({"host": "elsewhere", "pid": 1, "machine": "m", "born": "b", "done": 1, "total": 2})
    [status] = run_statuses(made.name)
    assert status.state == "running"
    assert status.silent_seconds is not None
    assert status.silent_seconds < 60
    cancel_run(made.name, status.run)
    assert run.cancel_requested
    run.write_page("<html>")
    run.write_report({"rows": 1})
    assert [status.state for status in run_statuses(made.name)] == ["finished"]


def test_a_set_cannot_be_made_where_there_is_no_store(server: str, made: MadeSet) -> None:
    with pytest.raises(NotFoundError, match="store init"):
        create_set(replace(made.name, root=new_bucket(server)), made.description)


@dataclass(frozen=True)
class Failing(Bucket):
    """A bucket of which some files cannot be reached."""

    ending: str = ""

    def chunks(self, key: str) -> Iterator[bytes]:
        if key.endswith(self.ending):
            raise ConnectionError(f"{self.url} cannot be reached")
        return super().chunks(key)

    def read(self, key: str) -> bytes:
        if key.endswith(self.ending):
            raise ConnectionError(f"{self.url} cannot be reached")
        return super().read(key)


@pytest.mark.parametrize("ending", [".parquet", "00000001.json"])
def test_what_cannot_be_reached_is_not_given_up(bucket: Any, make_set: Callable[..., MadeSet], ending: str) -> None:
    made = make_set(root=bucket)
    made.commit("photos", {"a": 1})
    name = replace(made.name, root=RemotePlace(Failing(bucket.backend.url, ending), bucket.key))
    for look in (partial(verify_set, name, full=True), partial(repair_set, name, give_up=True)):
        with pytest.raises(ConnectionError, match="cannot be reached"):
            look()
    assert verify_set(made.name, full=True).findings == ()
