"""Takedowns that are cut off, and others at work meanwhile: readers, writers, copies, caches of other machines."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import storage.files
from scripts.made_set import MadeSet
from scripts.s3_server import new_bucket
from storage import takedown_set
from storage.commit import commit, open_newest
from storage.disk import Disk
from storage.errors import ConflictError, NotFoundError, UsageError
from storage.gc import collect_garbage
from storage.import_features import import_features
from storage.import_options import ImportOptions
from storage.lending import find_lenders
from storage.repair import repair_set
from storage.store import init_store
from storage.takedown import Request, finish_takedowns, take_down
from storage.tombstones import hashed, leave_tombstone, read_tombstones, unfinished
from storage.transfer import copy_set
from storage.verify import verify_set
from tests.storage.test_takedown import expect, holding, image, key, write_run
from tests.storage.traces import traces

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]
Make = Callable[..., MadeSet]


class _Stopped(BaseException):
    """As if the process were killed."""


class StoppingDisk(Disk):
    """Stops before the n-th change, counted with the files that get their names."""

    def __init__(self, after: int) -> None:
        self.left = after

    def change(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _Stopped

    def create(self, key: str, data: bytes) -> None:
        self.change()
        super().create(key, data)

    def replace(self, key: str, data: bytes) -> None:
        self.change()
        super().replace(key, data)

    def remove(self, key: str) -> None:
        self.change()
        super().remove(key)


def filled(made: MadeSet) -> MadeSet:
    made.commit("one", {"a": 1, "b": 2, "c": 1}, rejected=["bad"])
    made.commit("one", {"b": 2, "c": 1, "bad": 3})
    run = write_run(made, [("a", 1, 0), ("b", 2, 1), ("c", 1, None)], made.open("1").manifest.shards[0])
    run.write_page("<p>a</p>")
    run.write_report({"worst": "a"})
    return made


def read_somehow(made: MadeSet, version: str, *states: dict[str, int]) -> None:
    """Before or after, never in between."""
    keys, embeddings = made.open(version).to_numpy()
    assert keys in [sorted(state) for state in states]
    pictures = next(state for state in states if sorted(state) == keys)
    np.testing.assert_array_equal(embeddings, made.embeddings([pictures[each] for each in keys]))


@pytest.mark.parametrize(
    ("by_key", "start", "step"),
    # 12: after the manifests, before the files that left.
    [(False, 1, 9), (True, 5, 9), (True, 12, 100), *(pytest.param(each, 0, 1, marks=pytest.mark.full) for each in (False, True))],
)
def test_cut_off_anywhere_it_goes_on(make_set: Make, monkeypatch: pytest.MonkeyPatch, by_key: bool, start: int, step: int) -> None:
    request = (lambda made: Request(keys=("a", "c"))) if by_key else (lambda made: Request(images=(made.digest(1).hex(),)))
    for after in itertools.count(start, step):
        made = filled(make_set())
        with monkeypatch.context() as patch:
            disk = StoppingDisk(after)
            patch.setattr(storage.files, "_DISK", disk)
            patch.setattr(
                storage.files, "move", lambda partial, target, disk=disk, move=storage.files.move: (disk.change(), move(partial, target))
            )
            try:
                take_down(made.name.root, made.name, request(made), do_it=True)
                break
            except _Stopped:
                pass
        read_somehow(made, "1", {"a": 1, "b": 2, "c": 1}, {"b": 2})
        read_somehow(made, "2", {"b": 2, "c": 1, "bad": 3}, {"b": 2, "bad": 3})
        take_down(made.name.root, made.name, request(made), do_it=True)
        assert holding(made, 1, "a", "c") == []
        expect(made, {"b": 2}, "1")
        expect(made, {"b": 2, "bad": 3}, "2")
        assert verify_set(made.name, full=True).findings == ()
        assert unfinished(made.name.root) == []
    assert after > 12


def test_what_was_cut_off_before_its_last_step_is_told_until_it_is_done(make_set: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = filled(make_set())
    request, left = (
        Request(keys=("a", "c")),
        {entry.path for version in ("1", "2") for entry in made.open(version).manifest.corpora["one"].items},
    )
    with monkeypatch.context() as patch:
        patch.setattr(takedown_set, "_remove", lambda name, stones: (_ for _ in ()).throw(_Stopped))
        with pytest.raises(_Stopped):
            take_down(made.name.root, made.name, request, do_it=True)
    for do_it in (False, True):
        (told,) = take_down(made.name.root, made.name, request, do_it=do_it).sets
        assert left <= {gone.path for gone in told.files}
    assert not any((made.folder / path).exists() for path in left)
    assert verify_set(made.name, full=True).findings == ()


def test_readers_see_before_or_after(make_set: Make) -> None:
    made = make_set(shape=(64,))
    pictures = {f"{i:03d}": i for i in range(60)}
    made.commit("one", pictures, per_shard=5)
    stop, seen = threading.Event(), set[int]()

    def read() -> None:
        while not stop.is_set():
            try:
                keys, embeddings = made.open().to_numpy()
            except ConflictError as error:
                assert "open it again" in str(error)  # noqa: PT017
                continue
            np.testing.assert_array_equal(embeddings, made.embeddings([pictures[each] for each in keys]))
            seen.add(len(keys))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for picture in (3, 17, 42):
            image(made, picture)
        stop.set()
        for reader in readers:
            reader.result()
    assert seen <= {60, 59, 58, 57}


def test_what_is_open_is_told_that_it_was_rewritten(make_set: Make) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    opened = made.open()
    opened.items  # noqa: B018 - reads them
    image(made, 1)
    with pytest.raises(ConflictError, match="open it again"):
        opened.to_numpy()
    with pytest.raises(ConflictError, match=r"version 1 of .* was rewritten"):
        made.open().__class__(opened.name, opened.description, opened.manifest).items  # noqa: B018


def test_who_began_before_brings_nothing_back(make_set: Make) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    made.commit("two", {"x": 7})
    base = open_newest(made.name)
    assert base is not None
    draft = made.draft("one", {"a": 1, "b": 2, "c": 3})
    other = made.draft("two", {"x": 7, "y": 8})
    image(made, 1)
    with pytest.raises(ConflictError, match="were taken down"):
        commit(made.name, base.manifest, draft, "one")
    assert holding(made, 1, "a") == []
    assert commit(made.name, base.manifest, other, "two").version == 3
    expect(made, {"b": 2, "x": 7, "y": 8}, "3")
    again = made.draft("one", {"a": 1, "b": 2})  # a worker that was late, and had not heard of it
    assert holding(made, 1, "a")
    with pytest.raises(ConflictError, match="were taken down"):
        commit(made.name, made.open().manifest, again, "one")
    assert holding(made, 1, "a") == []
    assert verify_set(made.name, full=True).sound


class MeanwhileDisk(Disk):
    """Something happens right before a version is created."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._acts = [act]

    def create(self, key: str, data: bytes) -> None:
        if "/versions/" in key and self._acts:
            self._acts.pop()()
        super().create(key, data)


@pytest.mark.parametrize("by_key", [False, True])
def test_one_between_the_last_look_and_the_commit_loses_nothing_else(make_set: Make, monkeypatch: pytest.MonkeyPatch, by_key: bool) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    base = open_newest(made.name)
    draft = made.draft("one", {"a": 1, "b": 2, "c": 3}, rejected=["bad"])
    act = (lambda: key(made, "a")) if by_key else (lambda: image(made, 1))
    monkeypatch.setattr(storage.files, "_DISK", MeanwhileDisk(act))
    manifest = commit(made.name, base.manifest if base else None, draft, "one")
    assert holding(made, 1, "a") == []
    state = manifest.corpora["one"]
    assert (state.listed, state.rows, state.rejected, dict(state.skipped)) == (3, 2, 1, {"taken-down": 1})
    expect(made, {"b": 2, "c": 3}, "2")
    expect(made, {"b": 2}, "1")
    assert verify_set(made.name, full=True).sound


def test_a_key_that_a_late_writer_brings_keeps_its_image(make_set: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    base = open_newest(made.name)
    draft = made.draft("one", {"b": 2, "z": 1})
    monkeypatch.setattr(storage.files, "_DISK", MeanwhileDisk(lambda: key(made, "a")))
    commit(made.name, base.manifest if base else None, draft, "one")
    expect(made, {"b": 2, "z": 1}, "2")
    expect(made, {"b": 2}, "1")


def test_the_next_extraction_goes_on_with_what_was_cut_off(make_set: Make) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    leave_tombstone(made.name.root, Request(images=(made.digest(1).hex(),)).tombstone(None))
    assert holding(made, 1, "a")
    finish_takedowns(made.name)  # what an extraction begins with
    assert holding(made, 1, "a") == []
    image(made, 1)
    assert unfinished(made.name.root) == []


def test_takedowns_at_once_all_count(make_set: Make) -> None:
    made = make_set()
    pictures = {f"{i}": i for i in range(12)}
    made.commit("one", pictures)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda picture: image(made, picture), (0, 1, 5)))
    for picture in (0, 1, 5):
        assert holding(made, picture, f"{picture}") == []
    expect(made, {each: picture for each, picture in pictures.items() if picture not in (0, 1, 5)}, "1")
    collect_garbage(made.name, delete=True, grace_seconds=-1)  # what one of them wrote, and another one had written better
    assert verify_set(made.name, full=True).findings == ()


def test_a_takedown_that_removes_shards_which_another_one_is_about_to_list(make_set: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first has written items that point at them, and puts these into the version right after the second has removed them."""
    made = make_set()
    pictures = {f"{i}": i for i in range(6)}
    made.commit("one", pictures)
    looked, recorded, removed, replaced = (threading.Event() for _ in range(4))
    seconds: list[Future[Any]] = []

    def then(step: str, act: Callable[[], object], of_first: bool, before: bool = False) -> None:
        """Beside the first call of a step of the first or the second takedown."""
        plain, calls = getattr(takedown_set, step), itertools.count()

        def call(*args: Any) -> Any:
            mine = (threading.current_thread() is threading.main_thread()) == of_first and next(calls) == 0
            if mine and before:
                act()
            found = plain(*args)
            if mine and not before:
                act()
            return found

        monkeypatch.setattr(takedown_set, step, call)

    with ThreadPoolExecutor(1) as pool:
        then("write_without", lambda: (seconds.append(pool.submit(image, made, 5)), looked.wait(30)), of_first=True, before=True)
        then("write_without", lambda: (looked.set(), recorded.wait(30)), of_first=False, before=True)
        then("_leave_record", lambda: (recorded.set(), removed.wait(30)), of_first=True)
        then("_remove", lambda: (removed.set(), replaced.wait(30)), of_first=False)
        then("_replace_manifests", replaced.set, of_first=True)
        image(made, 0)
        seconds[0].result(30)
    assert all(event.is_set() for event in (looked, recorded, removed, replaced))
    for picture in (0, 5):
        assert holding(made, picture, f"{picture}") == []
    expect(made, {each: picture for each, picture in pictures.items() if picture not in (0, 5)}, "1")
    assert verify_set(made.name, full=True).sound


def test_another_machine_forgets_when_it_next_opens_the_store(
    server: str, make_set: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(server)
    init_store(bucket)
    made = make_set(root=bucket)
    made.commit("one", {f"{i}": i for i in range(6)})
    made.commit("one", {"0": 0})
    monkeypatch.setenv("PERMAFROST_CACHE", str(tmp_path / "other machine"))
    made.open("1").to_numpy()
    wanted = [made.embedding(1).tobytes()]
    assert traces(tmp_path / "other machine", wanted, ["1"])
    monkeypatch.setenv("PERMAFROST_CACHE", str(tmp_path / "cache"))
    image(made, 1)
    monkeypatch.setenv("PERMAFROST_CACHE", str(tmp_path / "other machine"))
    kept = len(list((tmp_path / "other machine").glob("*/*")))
    made.open("2")
    assert traces(tmp_path / "other machine", wanted, ["1"]) == []
    assert 0 < len(list((tmp_path / "other machine").glob("*/*"))) < kept
    made.open("1").to_numpy()


def test_a_copy_is_taken_down_apart_and_brings_nothing_back(make_set: Make, tmp_path: Path) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    target = replace(made.name, root=tmp_path / "copy")
    copy_set(made.name, target)
    done = take_down(target.root, target, Request(images=(made.digest(1).hex(),)), do_it=True)
    assert "copies of the store" in done.beyond[0]
    with pytest.raises(ConflictError, match="take it down in the other, too"):
        copy_set(made.name, target)
    copy_set(made.name, replace(target, name="another"))  # it was taken down in one set, so others may have it
    take_down(target.root, None, Request(images=(made.digest(1).hex(),)), do_it=True)
    with pytest.raises(ConflictError, match=r"holds what was taken down in .*copy"):
        copy_set(made.name, replace(target, name="third"))
    image(made, 1)
    assert copy_set(made.name, target).copied == 0, "both are alike again"
    assert traces(target.root, [made.embedding(1).tobytes()], ["a"]) == []


def test_a_copy_of_what_was_cleaned_keeps_it_out(make_set: Make, tmp_path: Path) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    image(made, 1)
    target = replace(made.name, root=tmp_path / "copy", name="copied")
    copy_set(made.name, target)
    stones = read_tombstones(target)
    assert made.digest(1) in stones.images
    assert stones.skips("one", "a", "stamp-1")
    assert unfinished(target.root) == []


def test_repair_brings_nothing_back(make_set: Make, tmp_path: Path) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    made.commit("one", {"a": 1, "b": 2, "c": 3})
    copy = replace(made.name, root=tmp_path / "copy")
    copy_set(made.name, copy)
    image(made, 1)
    (Path(made.folder) / "versions" / "00000001.json").unlink()
    repair = repair_set(made.name, [copy.root])
    assert repair.left.findings == ()
    assert holding(made, 1, "a") == []
    expect(made, {"b": 2}, "1")


def test_an_import_passes_over_it(make_set: Make, tmp_path: Path) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    image(made, 1)
    key(made, "b")
    values = pa.array(made.embeddings([1, 3, 4]).tolist(), pa.list_(pa.float16(), 3))
    digests = pa.array([made.digest(each).hex() for each in (1, 3, 4)])
    pq.write_table(pa.table({"key": ["x", "b", "d"], "digest": digests, "embedding": values}), tmp_path / "rows.parquet")
    result = import_features(tmp_path / "rows.parquet", made.uri, ImportOptions(like=made.uri, add=True))
    assert (result.listed, result.rows, dict(result.skipped)) == (1, 1, {"taken-down": 2})
    assert holding(made, 1, "x", "b") == []


def test_a_set_lends_nothing_that_it_lost(make_set: Make) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    other = make_set(root=made.name.root, name="other")
    image(made, 1)
    [lender] = find_lenders(other.name, other.description.space)
    assert len(lender.index) == 1


@pytest.mark.parametrize(
    ("request_of", "message"),
    [
        (lambda: Request(), "images or keys"),
        (lambda: Request(images=("1" * 64,), keys=("a",)), "not both"),
        (lambda: Request(images=("12",)), "64 hex digits"),
        (lambda: Request(images=("1" * 64,), corpus="one"), "leave out the corpus"),
    ],
)
def test_a_request_without_sense_is_refused(request_of: Callable[[], Request], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        request_of()


def test_what_is_not_there_is_told(make_set: Make) -> None:
    made = make_set()
    made.commit("one", {"a": 1})
    for name, request, error, message in (
        (made.name, Request(keys=("b",)), NotFoundError, "nothing in .* has the key 'b'"),
        (made.name, Request(keys=("a",), corpus="two"), NotFoundError, "in corpus 'two'"),
        (None, Request(keys=("a",)), UsageError, "a key belongs to a set"),
        (replace(made.name, at="1"), Request(keys=("a",)), UsageError, "leave out '@1'"),
        (replace(made.name, name="no"), Request(keys=("a",)), NotFoundError, "no feature set team/no"),
    ):
        with pytest.raises(error, match=message):
            take_down(made.name.root, name, request, do_it=True)
    assert not image(made, 77).anything
    assert made.digest(77) in read_tombstones(made.name).images
    assert hashed("a") not in str(list(Path(made.name.root).rglob("*")))
