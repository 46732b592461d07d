"""Old versions, garbage and whole sets leave; what anybody holds on to, or may need, stays."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import storage
from scripts.damaged_sets import files_of, fill
from scripts.made_set import MadeSet, made_space, new_set
from storage.errors import ConflictError, DamagedError, NotFoundError, UsageError
from storage.expire import expire_versions, plan_expiry
from storage.gc import collect_garbage
from storage.golden import write_golden
from storage.manifest import Manifest
from storage.names import SetName
from storage.removal import remove_set
from storage.runs import RunFolder
from storage.sealed import seal
from storage.tags import move_tag, remove_tag
from storage.verify import verify_set
from storage.versions import list_versions

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture
def made(make_set: Callable[..., MadeSet]) -> MadeSet:
    """Versions 1 to 3; prod is 2."""
    return fill(make_set())


def age(made: MadeSet, days: float = 2) -> None:
    """As if all files had been written then."""
    for path in Path(made.folder).rglob("*"):
        os.utime(path, (time.time() - days * 86400,) * 2)


def manifests(made: MadeSet, *days: int) -> dict[int, Manifest]:
    """Versions that are so many days old."""
    some = made.open("1").manifest
    return {i: replace(some, version=i, created=(NOW - timedelta(days)).isoformat()) for i, days in enumerate(days, start=1)}


@pytest.mark.parametrize(
    ("keep", "before", "held", "leaving"),
    [
        (1, None, {}, (1, 2, 3, 4)),
        (3, None, {}, (1, 2)),
        (9, None, {}, ()),
        (None, NOW - timedelta(10), {}, (1, 2)),
        (None, NOW + timedelta(1), {}, (1, 2, 3, 4)),
        (4, NOW - timedelta(10), {}, (1,)),
        (2, NOW - timedelta(25), {}, (1,)),
        (1, None, {2: "tag prod", 3: "head me/best"}, (1, 4)),
    ],
)
def test_what_is_old_leaves_and_what_is_held_stays(
    made: MadeSet, keep: int | None, before: datetime | None, held: dict[int, str], leaving: tuple[int, ...]
) -> None:
    expiry = plan_expiry(manifests(made, 30, 20, 10, 5, 0), held, keep, before)
    assert expiry.leaving == leaving
    assert set(expiry.staying) == {1, 2, 3, 4, 5} - set(leaving)
    assert expiry.staying[5] == "newest"
    assert all(expiry.staying[version] == who for version, who in held.items() if version != 5)


def test_nothing_leaves_unless_asked(made: MadeSet) -> None:
    before = {path: path.read_bytes() for path in files_of(made)}
    assert expire_versions(made.name, 1, None, remove_them=False).leaving == (1,)
    assert {path: path.read_bytes() for path in files_of(made)} == before


def test_a_version_that_left_is_no_damage_and_the_others_are_whole(made: MadeSet) -> None:
    assert expire_versions(made.name, 1, None, remove_them=True).leaving == (1,)
    assert list_versions(made.folder) == [2, 3]
    found = verify_set(made.name, full=True)
    assert found.sound
    with pytest.raises(NotFoundError, match="no version 1"):
        made.open("1")
    for version in ("2", "3"):
        made.open(version).to_numpy()


def test_a_head_holds_the_version_that_it_was_fitted_on(made: MadeSet) -> None:
    head = Path(made.name.root) / "heads" / "me" / "best"
    head.mkdir(parents=True)
    (head / "head.json").write_text(json.dumps({"set": f"{made.name}@1"}))
    assert expire_versions(made.name, 1, None, remove_them=True).leaving == ()
    (head / "head.json").unlink()
    assert expire_versions(made.name, 1, None, remove_them=True).leaving == (1,)


@pytest.mark.parametrize(("keep", "message"), [(None, "how many versions to keep"), (0, "at least 1")])
def test_a_request_without_sense_is_refused(made: MadeSet, keep: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        expire_versions(made.name, keep, None, remove_them=True)


def test_nothing_expires_that_a_lost_tag_may_mean(made: MadeSet) -> None:
    move_tag(replace(made.name, at="1"), "kept")
    (Path(made.folder) / "tags" / "kept.json").unlink()
    for remove_them in (False, True):
        with pytest.raises(DamagedError, match=r"the tag 'kept' of .* is lost .*--from ROOT.*tag .*/set kept --delete"):
            expire_versions(made.name, 1, None, remove_them)
    remove_tag(made.name, "kept")
    assert 1 in expire_versions(made.name, 1, None, remove_them=True).leaving


@pytest.mark.parametrize("harm", ["cut off", "another bit", "empty", "no name", "not there", "no version"])
def test_nothing_leaves_that_a_head_of_which_nobody_knows_may_need(made: MadeSet, harm: str) -> None:
    head = Path(made.name.root) / "heads" / "me" / "best" / "head.json"
    head.parent.mkdir(parents=True)
    (head.parent / "head.keras").write_bytes(b"x")
    sound = seal({"set": str(made.name), "version": 1})
    harmed = {
        "cut off": b"{",
        "another bit": sound.replace(b'"version": 1', b'"version": 3'),
        "empty": b"{}",
        "no name": b'{"set": 7}',
        "no version": seal({"set": str(made.name)}),
    }
    if harm in harmed:
        head.write_bytes(harmed[harm])
    before = files_of(made)
    for act in (lambda: expire_versions(made.name, 1, None, remove_them=True), lambda: collect_garbage(made.name, True, -1)):
        with pytest.raises(DamagedError, match=r"heads/me/best/head.json .*, and nobody knows .* remove its folder"):
            act()
    assert files_of(made) == before
    head.write_bytes(sound)
    assert expire_versions(made.name, 1, None, remove_them=True).staying[1] == "head me/best"


def test_a_folder_with_nothing_in_it_and_a_file_beside_heads_are_no_heads(made: MadeSet) -> None:
    heads = Path(made.name.root) / "heads" / "me"
    (heads / "empty").mkdir(parents=True)
    (heads / "notes.txt").write_text("x")
    assert 1 in expire_versions(made.name, 1, None, remove_them=True).leaving
    collect_garbage(made.name, delete=True)


def test_garbage_is_what_no_version_lists(made: MadeSet) -> None:
    expire_versions(made.name, 1, None, remove_them=True)
    made.write_shard([77])
    age(made)
    found = collect_garbage(made.name, delete=False)
    only_in_1 = {entry.path for entry in made.open("2").manifest.files}
    assert not only_in_1 & set(found.files)
    assert found.files
    before = len(files_of(made))
    assert collect_garbage(made.name, delete=True) == found
    assert len(files_of(made)) == before - len(found.files)
    assert verify_set(made.name, full=True).findings == ()
    assert collect_garbage(made.name, delete=True).files == ()


@pytest.mark.parametrize("quantization", ["openvino:0123", None])
def test_the_calibrated_network_of_a_set_without_a_version_is_no_garbage(tmp_path: Path, quantization: str | None) -> None:
    """Its space names it, and set.json stays."""
    begun = new_set(SetName(tmp_path, "team", "set"), made_space(precision="int8", quantization=quantization), "parquet")
    paths = [write_golden(begun.golden_images(), begun.folder).path]
    RunFolder(begun.folder, "20261127T101500Z-00000001").write_plan({})
    begun.write_shard([5])
    age(begun)
    found = collect_garbage(begun.name, delete=True)
    assert [path for path in found.files if path.startswith("golden/")] == ([] if quantization else paths)
    assert [path for path in found.files if path.startswith("shards/")]


def test_what_is_young_stays(made: MadeSet) -> None:
    age(made)
    made.write_shard([77])
    found = collect_garbage(made.name, delete=True)
    assert (found.files, found.kept_young) == ((), 1)
    assert collect_garbage(made.name, delete=True, grace_seconds=0).bytes > 0


def test_what_a_version_lists_is_never_garbage_however_old(made: MadeSet) -> None:
    age(made, days=1000)
    assert collect_garbage(made.name, delete=True, grace_seconds=0).files == ()
    assert verify_set(made.name, full=True).findings == ()


def test_nothing_is_collected_while_a_run_is_at_work(made: MadeSet) -> None:
    run = RunFolder(made.folder, "20261127T130000Z-00000001")
    run.write_heartbeat({"host": "elsewhere", "pid": 1, "machine": "m", "born": "b"})
    made.write_shard([77])
    with pytest.raises(ConflictError, match=r"run 20261127T130000Z-00000001 is at work on .*\(elsewhere\)"):
        collect_garbage(made.name, delete=True, grace_seconds=0)
    with pytest.raises(ConflictError, match="cancel it first"):
        remove_set(made.name, remove_it=True)


def test_receipts_of_a_run_that_died_go_with_its_shards(made: MadeSet) -> None:

    run = RunFolder(made.folder, "20261127T130000Z-00000001")
    run.write_receipt("000000", pa.table({"key": ["x"]}))
    run.write_end("failed", "no room")
    age(made)
    found = collect_garbage(made.name, delete=True)
    assert found.files == ("runs/20261127T130000Z-00000001/receipts/000000.parquet",)
    assert run.units_finished() == []


def test_what_killed_writers_left_is_garbage(made: MadeSet) -> None:
    left = Path(made.folder) / "shards" / ".run-0123.partial"
    left.write_bytes(b"half")
    age(made)
    assert collect_garbage(made.name, delete=True).files == ("shards/.run-0123.partial",)
    assert not left.exists()


def test_a_folder_among_the_files_is_left_alone(made: MadeSet) -> None:
    stray = Path(made.folder) / "shards" / "sub" / "stray.parquet"
    stray.parent.mkdir()
    stray.write_bytes(b"x")
    made.write_shard([77])
    assert len(collect_garbage(made.name, delete=True, grace_seconds=-1).files) == 1
    assert stray.exists()


def test_with_a_version_that_cannot_be_read_nothing_is_collected(made: MadeSet) -> None:
    (Path(made.folder) / "versions" / "00000001.json").write_bytes(b"garbage")
    made.write_shard([77])
    with pytest.raises(DamagedError):
        collect_garbage(made.name, delete=True, grace_seconds=0)


def test_what_is_no_set_is_not_removed(made: MadeSet) -> None:
    folder = Path(made.folder)
    team, elsewhere = folder.parent, folder.parent.parent.parent / "elsewhere"
    for kept in (team / "notes" / "precious", elsewhere / "precious"):
        kept.parent.mkdir()
        kept.write_bytes(b"x")
    (team / "alias").symlink_to(folder)
    (team / "out").symlink_to(elsewhere)
    for name, error in (("notes", NotFoundError), ("alias", UsageError), ("out", UsageError)):
        with pytest.raises(error, match=r"no part of one|is a link to"):
            remove_set(replace(made.name, name=name), remove_it=True)
    assert verify_set(made.name, full=True).sound
    (folder / "shards" / "link").symlink_to(elsewhere)
    remove_set(made.name, remove_it=True)
    assert not folder.exists()
    assert (elsewhere / "precious").exists()
    assert (team / "notes" / "precious").exists()


def test_a_set_is_removed_with_all_it_has(made: MadeSet, make_set: Callable[..., MadeSet]) -> None:
    other = fill(make_set(root=made.name.root, name="other"))
    count = remove_set(made.name, remove_it=False)
    assert verify_set(made.name, full=True).sound
    assert count == len(files_of(made)) - 2, "the store itself stays, with its catalog"
    assert remove_set(made.name, remove_it=True) == count
    assert not Path(made.folder).exists()
    with pytest.raises(NotFoundError):
        storage.open(str(made.name))
    with pytest.raises(NotFoundError):
        remove_set(made.name, remove_it=True)
    assert verify_set(other.name, full=True).sound


@pytest.mark.parametrize(
    "act", [lambda n: expire_versions(n, 1, None, True), lambda n: collect_garbage(n, True), lambda n: remove_set(n, True)]
)
def test_a_version_in_the_name_is_refused(made: MadeSet, act: Callable[..., object]) -> None:
    with pytest.raises(UsageError, match="leave out '@2'"):
        act(replace(made.name, at="2"))
