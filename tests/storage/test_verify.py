"""Every byte of a set is proved: whatever changes is found, named, and said of which versions and items it is."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.damaged_sets import DAMAGE, cut_off, delete, files_of, fill, flip_a_bit
from scripts.made_set import MadeSet
from storage.errors import NotFoundError
from storage.expire import expire_versions
from storage.finding import Finding
from storage.runs import RunFolder
from storage.sealed import seal
from storage.takedown import Request, take_down
from storage.verify import verify_set

FLIPS = 200


@pytest.fixture(params=["parquet", "hdf5"])
def made(request: pytest.FixtureRequest, make_set: Callable[..., MadeSet]) -> MadeSet:
    return fill(make_set(shard_format=request.param))


def damage(made: MadeSet, full: bool = True) -> list[Finding]:
    return [finding for finding in verify_set(made.name, full).findings if finding.is_damage]


def test_a_sound_set_is_sound(made: MadeSet) -> None:
    found = verify_set(made.name, full=True)
    assert (found.sound, found.findings) == (True, ())
    assert found.files == len(files_of(made))
    assert found.bytes > 0
    assert verify_set(made.name, full=False).sound


@pytest.mark.slow
def test_any_flipped_bit_is_found_and_its_file_named(made: MadeSet) -> None:
    paths = files_of(made)
    for seed in range(FLIPS // 2):  # of each format
        draw = random.Random(seed)
        path = draw.choice(paths)
        before = path.read_bytes()
        flip_a_bit(path, draw)
        [finding] = damage(made)
        assert (finding.kind, Path(finding.path).name) == ("damaged", path.name)
        path.write_bytes(before)
    assert damage(made) == []


@pytest.mark.parametrize("harm", [cut_off, delete])
def test_any_file_that_is_missing_or_cut_off_is_found(made: MadeSet, harm: Callable[[Path, random.Random], None]) -> None:
    for path in files_of(made):
        if harm is delete and path.name == "README.md":
            continue  # it is made of the rest at the next commit
        before = path.read_bytes()
        harm(path, random.Random(path.name))
        assert path.name in {Path(finding.path).name for finding in verify_set(made.name, full=True).findings}, path
        path.write_bytes(before)


def test_a_quick_verification_finds_what_is_missing_or_of_another_size(made: MadeSet) -> None:
    shard = next(path for path in files_of(made) if "shards" in path.parts)
    before = shard.read_bytes()
    shard.write_bytes(before + b"x")
    assert [finding.kind for finding in damage(made, full=False)] == ["resized"]
    shard.write_bytes(bytes(len(before)))
    assert damage(made, full=False) == []
    assert [finding.kind for finding in damage(made)] == ["damaged"]


def test_it_says_which_versions_and_items_a_shard_costs(made: MadeSet) -> None:
    manifest = made.open("1").manifest
    first = next(entry for entry in manifest.shards if entry.path not in {other.path for other in made.open("3").manifest.shards})
    (made.folder / first.path).unlink()
    [finding] = damage(made)
    assert finding.versions == (1, 2)
    expected = sum(row["shard"] == first.sha256 for row in made.open("1").items.to_pylist())
    assert dict(finding.items) == {1: expected, 2: expected}


def test_it_says_which_items_an_item_file_costs(made: MadeSet) -> None:
    [entry] = made.open("2").manifest.corpora["two"].items
    (made.folder / entry.path).write_bytes(b"x" * entry.bytes)
    [finding] = damage(made)
    assert (finding.versions, dict(finding.items)) == ((2, 3), {2: 5, 3: 5})


def test_files_that_no_version_lists_are_named_and_are_no_damage(made: MadeSet) -> None:
    (made.folder / "shards" / "left.parquet").write_bytes(b"x")
    (made.folder / "holiday.jpg").write_bytes(b"x")
    found = verify_set(made.name, full=True)
    assert found.sound
    assert {(finding.kind, finding.path) for finding in found.findings} == {
        ("unlisted", "shards/left.parquet"),
        ("unlisted", "holiday.jpg"),
    }


def test_a_manifest_that_cannot_be_read_makes_no_garbage_of_its_files(made: MadeSet) -> None:
    (made.folder / "versions" / "00000003.json").write_bytes(b"x")
    assert [finding.path for finding in verify_set(made.name, full=True).findings] == ["versions/00000003.json"]


def test_a_damaged_list_of_absent_versions_makes_no_other_damage(made: MadeSet) -> None:
    expire_versions(made.name, 1, None, remove_them=True)
    (made.folder / "absent.json").write_bytes(b"x")
    assert [finding.path for finding in damage(made)] == ["absent.json"]


def test_a_set_that_is_not_there_is_told(made: MadeSet) -> None:
    (made.name.root / "team" / "nothing").mkdir()
    with pytest.raises(NotFoundError, match="no feature set team/nothing"):
        verify_set(type(made.name)(made.name.root, "team", "nothing"), full=False)


def test_progress_is_told(made: MadeSet) -> None:
    told: list[tuple[int, int]] = []
    verify_set(made.name, True, lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(1, told[0][1] + 1))


@pytest.mark.parametrize("kind", DAMAGE)
def test_two_damaged_files_are_two_findings(made: MadeSet, kind: str) -> None:
    shards = [path for path in files_of(made) if "shards" in path.parts][:2]
    for number, path in enumerate(shards):
        DAMAGE[kind](path, random.Random(number))
    assert len(damage(made)) == 2


def test_a_run_without_its_plan_or_report_is_told(made: MadeSet) -> None:
    """Not one that stopped before it wrote them."""
    run = Path(made.folder) / "runs" / "20261127T120000Z-00000000"
    for lost in ("plan.json", "report.json"):
        before = (run / lost).read_bytes()
        (run / lost).unlink()
        assert [(finding.kind, Path(finding.path).name) for finding in damage(made)] == [("missing", lost)]
        (run / lost).write_bytes(before)
    RunFolder(made.folder, "20261127T130000Z-00000000").write_heartbeat({})
    assert damage(made) == []


FOREIGN = (
    "versions/00000004.json~",
    "versions/4.json",
    "tags/foo.npy",
    "runs/notes.txt",
    "runs/20261127T120000Z-00000000/notes.json",
    "runs/20261127T120000Z-00000000/receipts/000001.parquet",
    "runs/20261127T120000Z-00000000/receipts/x.txt",
    "shards/x.parquet",
    "../../notes.txt",
    "../../team/notes.txt",
    "../../takedowns/notes.txt",
    "holiday.jpg",
)


def test_foreign_files_are_named_wherever_they_are_and_are_no_damage(made: MadeSet) -> None:
    for path in FOREIGN:
        (made.folder / path).parent.mkdir(exist_ok=True)
        (made.folder / path).write_bytes(b"x")
    (made.folder / "shards" / "sub").mkdir()
    (made.folder / "shards" / "sub" / "stray.parquet").write_bytes(b"x")
    found = verify_set(made.name, full=True).findings
    assert sorted((finding.kind, finding.path) for finding in found) == sorted(("unlisted", path) for path in (*FOREIGN, "shards/sub"))
    assert not any(finding.is_damage for finding in found)


def test_other_teams_sets_and_heads_are_not_foreign(made: MadeSet, make_set: Callable[..., MadeSet]) -> None:
    fill(make_set(root=made.name.root, name="other"))
    (made.name.root / "heads" / "team" / "best").mkdir(parents=True)
    assert verify_set(made.name, full=True).findings == ()


def test_what_readers_over_the_web_are_not_told_is_named_and_is_no_damage(made: MadeSet) -> None:
    """Writers that may not write in the root of the store, or die before they do, leave it so."""
    root = Path(made.name.root)
    (root / "catalog.json").write_bytes(seal({"sets": ["team/other"]}))
    (Path(made.folder) / "hint.json").unlink()
    found = verify_set(made.name, full=True)
    assert (found.sound, {(finding.kind, finding.path) for finding in found.findings}) == (
        True,
        {("unannounced", "../../catalog.json"), ("unannounced", "hint.json")},
    )
    take_down(root, None, Request(images=("0" * 64,)), do_it=True)
    (root / "catalog.json").write_bytes(seal({"sets": ["team/set"]}))
    assert ["all that was taken down" in finding.message for finding in verify_set(made.name, full=True).findings] == [True]
    (root / "catalog.json").unlink()
    assert ["there is none" in finding.message for finding in verify_set(made.name, full=True).findings] == [True]


def test_a_pipe_is_called_no_folder(made: MadeSet) -> None:
    os.mkfifo(Path(made.folder) / "shards" / "pipe")
    [finding] = verify_set(made.name, full=True).findings
    assert (finding.kind, finding.message.startswith("neither a file nor a folder")) == ("unlisted", True)
