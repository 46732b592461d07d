"""What is taken down is gone: from every version, from runs and caches, whoever reads, writes or dies meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scripts.cli import main
from scripts.made_set import MadeSet
from scripts.s3_server import new_bucket
from storage.errors import DamagedError, UsageError
from storage.expire import expire_versions
from storage.files import FileEntry
from storage.gc import collect_garbage
from storage.place import RemotePlace
from storage.runs import RunFolder
from storage.sealed import read_sealed
from storage.shard_cache import cache_folder
from storage.store import init_store
from storage.tags import move_tag
from storage.takedown import Request, Takedown, take_down
from storage.verify import verify_set
from storage.version_diff import diff_versions
from storage.versions import list_tags, read_manifest
from tests.storage.traces import traces

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]

Make = Callable[..., MadeSet]
FORMATS = pytest.mark.parametrize("shard_format", ["parquet", "hdf5"])
RUN = "20261127T120000Z-00000000"


def image(made: MadeSet, picture: int, **options: Any) -> Takedown:
    return take_down(made.name.root, None, Request(images=(made.digest(picture).hex(),)), **{"do_it": True, **options})


def key(made: MadeSet, text: str, corpus: str | None = None) -> Takedown:
    return take_down(made.name.root, made.name, Request(keys=(text,), corpus=corpus), do_it=True)


def holding(made: MadeSet, picture: int, *keys: str) -> list[str]:
    """Files of the store and the cache in which the embedding or a key still is."""
    wanted = [made.embedding(picture, view).tobytes() for view in range(made.views)]
    return traces(made.name.root, wanted, list(keys)) + traces(cache_folder(), wanted, list(keys))


def expect(made: MadeSet, pictures: dict[str, int], at: str) -> None:
    keys, embeddings = made.open(at).to_numpy(view=None)
    assert keys == sorted(pictures)
    wanted = made.embeddings([pictures[each] for each in keys]).reshape(embeddings.shape)
    np.testing.assert_array_equal(embeddings, wanted)


def write_run(made: MadeSet, rows: list[tuple[str, int | None, int | None]], shard: FileEntry | None, corpus: str = "one") -> RunFolder:
    """rows: key, picture, row in the shard."""
    run = RunFolder(made.folder, RUN)
    run.write_plan({"units": [{"id": "000000", "items": len(rows), "first": rows[0][0], "last": rows[-1][0]}]})
    table = pa.table(
        {
            "key": pa.array([each for each, _, _ in rows], pa.string()),
            "stamp": pa.array([f"stamp-{picture}" for _, picture, _ in rows], pa.string()),
            "digest": pa.array([None if picture is None else made.digest(picture) for _, picture, _ in rows], pa.binary(32)),
            "row": pa.array([row for _, _, row in rows], pa.int32()),
            "reason": pa.array([None if picture is not None else "unreadable" for _, picture, _ in rows], pa.string()),
            "message": pa.array([None] * len(rows), pa.string()),
        }
    )
    head = {"unit": "000000", "corpus": corpus, "shard": vars(shard) if shard else None, "counters": {}, "seconds": {}, "worker": ""}
    run.write_receipt("000000", table.replace_schema_metadata({b"permafrost": json.dumps(head).encode()}))
    return run


@FORMATS
@pytest.mark.parametrize("views", [("plain",), ("plain", "flip")])
def test_an_image_leaves_every_version_and_nothing_else_does(make_set: Make, shard_format: str, views: tuple[str, ...]) -> None:
    made = make_set(shard_format=shard_format, views=views)
    made.commit("one", {f"a/{i}": i for i in range(7)} | {"copy": 4}, rejected=["bad"])
    made.commit("two", {f"b/{i}": 4 + i for i in range(5)}, per_shard=2)
    made.commit("one", {f"a/{i}": i for i in range(5, 9)})
    move_tag(made.name, "prod")
    assert holding(made, 4, "a/4")
    done = image(made, 4)
    assert holding(made, 4, "a/4", "copy", "b/0") == []
    expect(made, {f"a/{i}": i for i in (0, 1, 2, 3, 5, 6)}, "1")
    kept = {f"b/{i}": 4 + i for i in range(1, 5)}
    expect(made, {f"a/{i}": i for i in (0, 1, 2, 3, 5, 6)} | kept, "2")
    expect(made, {f"a/{i}": i for i in range(5, 9)} | kept, "3")
    assert verify_set(made.name, full=True).findings == ()
    assert [(loss.version, loss.items) for loss in done.sets[0].versions] == [(1, 2), (2, 3), (3, 1)]
    state = made.open("1").manifest.corpora["one"]
    assert (state.listed, state.rows, state.rejected, dict(state.skipped)) == (7, 6, 1, {"taken-down": 2})
    assert diff_versions(made.open("1"), made.open("3")).counts == {"added": 6, "removed": 4, "changed": 0, "renamed": 0, "relabelled": 0}
    assert [tag.version for tag in list_tags(made.name)] == [3]
    assert collect_garbage(made.name, delete=True, grace_seconds=0).files == ()
    assert done.unreached == ()


def test_nothing_is_done_unless_asked(make_set: Make) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    before = {path: path.read_bytes() for path in Path(made.name.root).rglob("*") if path.is_file()}
    told = image(made, 1, do_it=False)
    assert [(loss.version, loss.items) for loss in told.sets[0].versions] == [(1, 1)]
    assert {path: path.read_bytes() for path in Path(made.name.root).rglob("*") if path.is_file()} == before
    done = image(made, 1)
    assert done.sets[0].versions == told.sets[0].versions
    assert {gone.path for gone in done.sets[0].files} == {gone.path for gone in told.sets[0].files}


@FORMATS
@pytest.mark.parametrize("is_listed", [True, False])
def test_what_is_left_of_a_shard_may_be_another_one_that_nothing_else_points_at(make_set: Make, shard_format: str, is_listed: bool) -> None:
    """Found by Hypothesis: the other shard left, and with it an embedding that is no part of the takedown."""
    made = make_set(shard_format=shard_format)
    if is_listed:
        made.commit("one", {"a": 2})
    else:
        made.write_shard([2])
    made.commit("one", {"a": 1, "b": 2})
    done = key(made, "a")
    assert holding(made, 1, "a") == []
    expect(made, {"b": 2}, "2" if is_listed else "1")
    assert verify_set(made.name, full=True).findings == ()
    assert collect_garbage(made.name, delete=True, grace_seconds=0).files == ()
    assert not {gone.path for gone in done.sets[0].files} & {entry.path for entry in made.open().manifest.files}
    assert key(made, "a").sets[0].files == ()


@FORMATS
def test_a_key_leaves_other_keys_of_its_image_alone(make_set: Make, shard_format: str) -> None:
    made = make_set(shard_format=shard_format)
    made.commit("one", {"a": 1, "b": 1, "c": 2})
    made.commit("two", {"a": 3})
    shards = made.open().manifest.shards
    key(made, "a", "one")
    expect(made, {"b": 1, "c": 2}, "1")
    assert made.open("2").items["key"].to_pylist() == ["b", "c", "a"]
    assert made.open().manifest.shards == shards, "another key points at the embedding: no shard was rewritten"
    key(made, "b")
    assert holding(made, 1, "b") == []
    expect(made, {"c": 2}, "1")
    key(made, "a")
    assert holding(made, 3, "a") == []
    assert verify_set(made.name, full=True).findings == ()


def test_a_version_that_is_left_with_nothing_is_a_version(make_set: Make) -> None:
    made = make_set()
    made.commit("one", {"a": 1})
    image(made, 1)
    manifest = read_manifest(made.folder, 1)
    assert (manifest.counts["listed"], manifest.counts["rows"], manifest.shards) == (0, 0, ())
    assert verify_set(made.name, full=True).findings == ()


def test_all_sets_of_a_store_are_reached_or_one(make_set: Make) -> None:
    made = make_set()
    other = make_set(root=made.name.root, name="other")
    for each in (made, other):
        each.commit("one", {"a": 1, "b": 2})
    take_down(made.name.root, made.name, Request(images=(made.digest(1).hex(),)), do_it=True)
    expect(made, {"b": 2}, "1")
    expect(other, {"a": 1, "b": 2}, "1")
    image(made, 1)
    expect(other, {"b": 2}, "1")
    assert holding(made, 1, "a") == []


def test_what_no_version_needs_any_more_is_found(make_set: Make) -> None:
    """Rows that no item points at, files of expired versions, shards of dead writers."""
    made = make_set()
    made.commit("one", {f"a/{i}": i for i in range(4)})
    made.commit("one", {"a/0": 0, "a/3": 3})
    made.write_shard([1, 99])
    expire_versions(made.name, 1, None, remove_them=True)
    assert len(holding(made, 1, "a/1")) == 3
    image(made, 1)
    assert holding(made, 1, "a/1") == []
    expect(made, {"a/0": 0, "a/3": 3}, "2")
    assert verify_set(made.name, full=True).sound


def test_rejects_and_golden_images_go_too(make_set: Make) -> None:
    made = make_set()
    made.commit("one", {"a": 1}, rejected=["bad", "worse"])
    made.commit("one", {"a": 1, "bad": 7, "worse": 8})
    image(made, 7)
    assert holding(made, 7, "bad") == []
    assert made.open("1").rejects["key"].to_pylist() == ["worse"], "it could not be read then, and goes by the name it has now"
    golden = made.open().golden()
    assert len(golden.names) == 2
    take_down(made.name.root, None, Request(images=(hashlib.sha256(golden.images[0]).hexdigest(),)), do_it=True)
    assert made.open("1").golden().names == made.open("2").golden().names == ("large.jpg",)
    assert holding(made, 1001) == []
    assert verify_set(made.name, full=True).findings == ()


@pytest.mark.parametrize("finished", [True, False])
def test_runs_forget(make_set: Make, finished: bool) -> None:
    made = make_set()
    made.commit("one", {"a/1": 1, "a/2": 2})
    shard = made.open().manifest.shards[0] if finished else made.write_shard([3, 1, 4])
    rows: list[tuple[str, int | None, int | None]] = (
        [("a/1", 1, 0), ("a/2", 2, 1)] if finished else [("x", 3, 0), ("a/1", 1, 1), ("y", 4, 2)]
    )
    run = write_run(made, [*rows, ("a/1", None, None)], shard)
    if finished:
        run.write_page("<html><td><code>a/1</code></td><small>cannot read /photos/a/1: no such file</small><b>a/10</b>")
        examples = [{"key": "a/1", "message": "cannot read 'a/1'"}, {"key": "z", "message": "as with /photos/a/1."}]
        run.write_report({"rejects": {"corrupt": {"count": 2, "examples": examples}}})
    else:
        run.write_end("failed", "no bytes in a/1: broken")
    done = image(made, 1)
    assert holding(made, 1, "a/1") == []
    assert {path.rpartition("/")[2] for path in done.sets[0].logs} >= {"000000.parquet", "plan.json"}
    receipt = run.read_receipt("000000")
    assert receipt is not None
    assert receipt.num_rows == len(rows) + 1
    head = json.loads(receipt.schema.metadata[b"permafrost"])
    if finished:
        page = run.page.read_text()  # type: ignore[union-attr]
        assert "<code>(taken down)</code>" in page
        assert "/photos/(taken down): no" in page
        assert "<b>a/10</b>" in page
        assert (run.read_report() or {})["rejects"]["corrupt"]["examples"] == [{"key": "z", "message": "as with /photos/(taken down)."}]
        assert head["shard"]["path"] == made.open().manifest.shards[0].path
        assert receipt["row"].to_pylist() == [None, 0, None]
    else:
        assert receipt["row"].to_pylist() == [0, None, 1, None]
        assert (Path(made.folder) / head["shard"]["path"]).stat().st_size == head["shard"]["bytes"]
        assert "no bytes in (taken down): broken" in (run.path / "end.json").read_text()  # type: ignore[union-attr]
    assert verify_set(made.name, full=True).sound


@pytest.mark.parametrize("word", ["files", "finished", "rejects", "failed"])
def test_a_key_may_be_called_like_a_field_of_a_log(make_set: Make, word: str) -> None:
    made = make_set()
    made.commit("one", {word: 1, "b": 2})
    run = write_run(made, [(word, 1, 0), ("b", 2, 1)], made.open().manifest.shards[0])
    run.write_page(f"<html><b>{word}</b>")
    run.write_end("failed", f"cannot read {word}")
    run.write_report({"finished": "2026-11-27", "rejects": {"corrupt": {"count": 1, "examples": [{"key": word, "message": ""}]}}})
    assert key(made, word).unreached == ()
    assert verify_set(made.name, full=True).findings == ()
    report = run.read_report() or {}
    assert set(report) == {"files", "finished", "rejects"}
    assert set(report["files"]) == {"report.html", "receipts/000000.parquet"}
    assert report["rejects"] == {"corrupt": {"count": 1, "examples": []}}
    assert read_sealed(run.path / "end.json", "end") | {"time": ""} == {
        "state": "failed",
        "message": "cannot read (taken down)",
        "time": "",
    }


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(UsageError, match="an empty key"):
        Request(keys=("a", ""))


def test_what_cannot_be_read_is_named_or_stops_it(make_set: Make) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    run = write_run(made, [("a", 1, 0)], None)
    receipt = Path(str(run.path)) / "receipts" / "000000.parquet"
    receipt.write_bytes(receipt.read_bytes()[:-9])
    foreign = Path(made.folder) / "notes.txt"
    foreign.write_text("a")
    half = Path(made.folder) / "shards" / ".0123.partial"
    half.write_bytes(made.embedding(1).tobytes())
    done = image(made, 1)
    assert [text.partition(" ")[0].rpartition("/")[2] for text in done.unreached] == ["000000.parquet", "notes.txt", ".0123.partial"]
    receipt.unlink()
    foreign.unlink()
    os.utime(half, (time.time() - 3600,) * 2)
    assert image(made, 1).unreached == ()
    assert holding(made, 1, "a") == []
    unlisted = Path(made.folder) / made.write_shard([2, 77]).path
    unlisted.write_bytes(unlisted.read_bytes()[:-1])
    assert not image(made, 55).unreached
    assert not unlisted.exists(), "nobody knows what is in it, and nobody needs it"
    shard = Path(made.folder) / made.open().manifest.shards[0].path
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError, match="repair"):
        image(made, 2)


def test_files_that_belong_to_no_set_are_named(make_set: Make) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    root, in_store, in_set = Path(made.name.root), Path("backup/b.parquet"), Path("team/set/runs/b.txt")
    for path in (in_store, in_set):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(made.embedding(2).tobytes())
    told = image(made, 2, do_it=False)
    done = image(made, 2)
    assert [text.partition(" ")[0] for text in done.unreached] == [str(in_set), "backup"]
    assert told.unreached == done.unreached
    one = take_down(root, made.name, Request(images=(made.digest(2).hex(),)), do_it=True)
    assert [text.partition(" ")[0] for text in one.unreached] == [str(in_set)]


def test_a_foreign_file_that_goes_is_not_named(make_set: Make) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    foreign = Path(made.folder) / "shards" / "b.parquet"
    foreign.write_bytes(made.embedding(1).tobytes())
    assert image(made, 1, do_it=False).unreached == image(made, 1).unreached == ()
    assert not foreign.exists()


def test_one_set_that_cannot_be_cleaned_keeps_no_other_from_it(make_set: Make) -> None:
    sets = [make_set(name="a")]
    sets += [make_set(root=sets[0].name.root, name=each) for each in ("b", "c")]
    for each in sets:
        each.commit("one", {"a": 1, "b": 2})
    description = Path(sets[1].folder) / "set.json"
    intact = description.read_bytes()
    description.write_bytes(b"{")
    with pytest.raises(DamagedError, match="1 of 3 sets could not be made clean, the others are"):
        image(sets[0], 1)
    description.write_bytes(intact)
    for each in (sets[0], sets[2]):
        expect(each, {"b": 2}, "1")
    image(sets[0], 1)
    expect(sets[1], {"b": 2}, "1")


@pytest.mark.parametrize("columns", [["digest", "embedding"], ["key", "embedding"], ["digest"], ["key", "digest"]])
def test_a_table_among_receipts_that_is_none_is_named(make_set: Make, columns: list[str]) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    run = write_run(made, [("a", 1, 0), ("b", 2, 1)], made.open().manifest.shards[0])
    table = pa.table({"key": ["a"], "digest": [made.digest(1).hex()], "embedding": [made.embedding(1).tolist()]})
    run.write_receipt("b", table.select(columns))
    done = image(made, 1)
    assert [text.partition(" ")[0] for text in done.unreached if "receipts" in text] == [f"team/set/runs/{RUN}/receipts/b.parquet"]
    expect(made, {"b": 2}, "1")
    receipt = run.read_receipt("000000")
    assert receipt is not None
    assert receipt["row"].to_pylist() == [None, 0]


def test_a_damaged_tombstone_is_found_and_made_again(make_set: Make) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    done = image(made, 1)
    tombstone = Path(made.name.root) / "takedowns" / f"{done.id}.json"
    tombstone.write_bytes(tombstone.read_bytes()[:-5])
    assert [finding.path for finding in verify_set(made.name, full=True).findings] == [f"../../takedowns/{done.id}.json"]
    image(made, 1)
    assert verify_set(made.name, full=True).findings == ()


@pytest.mark.parametrize("shard_format", ["parquet", pytest.param("hdf5", marks=pytest.mark.full)])
def test_in_a_bucket_with_its_cache(server: str, make_set: Make, shard_format: str) -> None:
    bucket = new_bucket(server)
    init_store(bucket)
    made = make_set(shard_format=shard_format, root=bucket)
    made.commit("one", {f"a/{i}": i for i in range(5)})
    made.commit("one", {f"a/{i}": i for i in range(6)})
    for version in ("1", "2"):
        made.open(version).to_numpy()
    assert traces(cache_folder(), [made.embedding(1).tobytes()], ["a/1"])
    done = image(made, 1)
    assert holding(made, 1, "a/1") == []
    assert any("old versions of objects" in each for each in done.beyond)
    expect(made, {f"a/{i}": i for i in (0, 2, 3, 4, 5)}, "2")
    assert verify_set(made.name, full=True).findings == ()
    assert isinstance(made.folder, RemotePlace)


def test_whatever_opens_a_store_elsewhere_cleans_the_cache_there(
    server: str, make_set: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command on a machine of its own, which has read the set before."""
    bucket = new_bucket(server)
    init_store(bucket)
    made = make_set(root=bucket)
    made.commit("one", {"a": 1, "b": 2})
    made.open().to_numpy()
    held = shutil.copytree(cache_folder(), tmp_path / "held")
    image(made, 1)
    commands = (
        ["ls", str(bucket)],
        ["versions"],
        ["tag"],
        ["tag", "new"],
        ["card"],
        ["copy"],
        ["verify"],
        ["gc"],
        ["expire", "--keep", "1"],
    )
    for number, (action, *words) in enumerate(commands):
        monkeypatch.setenv("PERMAFROST_CACHE", str(shutil.copytree(held, tmp_path / f"cache-{number}")))
        assert holding(made, 1, "a") != []
        target = [] if action == "ls" else [made.uri]
        assert main(["store", action, *target, *words, *([str(tmp_path / "target/team/set")] if action == "copy" else [])]) == 0
        assert holding(made, 1, "a") == [], action
    capsys.readouterr()
