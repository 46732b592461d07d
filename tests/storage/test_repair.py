"""What is damaged comes from a copy, or is given back to extraction; never is it left to be trusted."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.damaged_sets import DAMAGE, files_of, fill
from scripts.made_set import MadeSet
from storage.index import committed_index
from storage.repair import repair_set
from storage.verify import verify_set


@pytest.fixture(params=["parquet", "hdf5"])
def made(request: pytest.FixtureRequest, make_set: Callable[..., MadeSet]) -> MadeSet:
    return fill(make_set(shard_format=request.param))


@pytest.fixture
def copy(made: MadeSet, tmp_path: Path) -> Path:
    return shutil.copytree(made.name.root, tmp_path / "copy")


def contents(made: MadeSet) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in files_of(made)}


@pytest.mark.parametrize("kind", DAMAGE)
def test_files_of_a_copy_take_the_place_of_damaged_ones(made: MadeSet, copy: Path, kind: str) -> None:
    before = contents(made)
    draw = random.Random(kind)
    needed = [path for path in before if path.name not in ("README.md", "hint.json")]
    for path in draw.sample(needed, 6):
        DAMAGE[kind](path, draw)
    repair = repair_set(made.name, [copy])
    assert repair.left.sound
    assert (len(repair.mended), repair.given_up, repair.version) == (6, (), None)
    assert contents(made) == before


def test_a_damaged_copy_mends_nothing(made: MadeSet, copy: Path) -> None:
    shard = next(path for path in files_of(made) if "shards" in path.parts)
    for path in (shard, copy / shard.relative_to(made.name.root)):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    repair = repair_set(made.name, [copy])
    assert (repair.mended, len(repair.left.findings)) == ((), 1)


def test_a_set_of_the_same_name_is_no_copy(made: MadeSet, make_set: Callable[..., MadeSet]) -> None:
    other = fill(replace(make_set(pooling="max")))
    path = made.folder / "versions" / "00000002.json"
    path.write_bytes(b"garbage")
    assert repair_set(made.name, [other.name.root]).mended == ()


def test_a_damaged_shard_without_a_copy_is_given_back_to_extraction(made: MadeSet) -> None:
    entry = made.open().manifest.shards[0]
    path = made.folder / entry.path
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert repair_set(made.name).given_up == ()
    assert path.exists()
    repair = repair_set(made.name, give_up=True)
    assert (repair.given_up, repair.version) == ((entry.path,), None)
    assert not path.exists()
    index = committed_index(made.name)
    assert entry.sha256 in index.unusable
    assert not repair.left.sound


def test_a_shard_that_is_missing_is_not_told_as_removed(made: MadeSet) -> None:
    entry = made.open().manifest.shards[0]
    (made.folder / entry.path).unlink()
    repair = repair_set(made.name, give_up=True)
    assert repair.given_up == ()
    assert [finding.kind for finding in repair.left.findings] == ["missing"]


def test_a_damaged_item_file_without_a_copy_leaves_a_version_in_which_its_items_are_pending(made: MadeSet) -> None:
    [entry] = made.open().manifest.corpora["two"].items
    (made.folder / entry.path).write_bytes(b"garbage")
    repair = repair_set(made.name, give_up=True)
    assert repair.version == 4
    state = made.open().manifest.corpora["two"]
    assert (state.listed, state.rows, state.rejected, state.pending) == (5, 0, 0, 5)
    assert made.open().items["corpus"].to_pylist() == ["one"] * 5
    assert {finding.versions for finding in repair.left.findings if finding.is_damage} == {(2, 3)}
    assert verify_set(made.name, full=True).findings == repair.left.findings


def test_damaged_rejects_are_pending_too(made: MadeSet) -> None:
    made.commit("one", {"a/1": 1}, rejected=["bad", "worse"])
    rejects = made.open().manifest.corpora["one"].rejects
    assert rejects is not None
    (made.folder / rejects.path).unlink()
    assert repair_set(made.name, give_up=True).version == 5
    state = made.open().manifest.corpora["one"]
    assert (state.rows, state.rejected, state.pending) == (1, 0, 2)


def test_a_run_that_lost_its_report_is_one_that_did_not_finish(made: MadeSet) -> None:
    run = Path(made.folder) / "runs" / "20261127T120000Z-00000000"
    (run / "report.json").unlink()
    repair = repair_set(made.name, give_up=True)
    assert (repair.given_up, repair.left.sound) == (("runs/20261127T120000Z-00000000/report.html",), True)


def test_a_sound_set_is_left_alone(made: MadeSet, copy: Path) -> None:
    before = contents(made)
    repair = repair_set(made.name, [copy], give_up=True)
    assert (repair.mended, repair.given_up, repair.version, repair.left.sound) == ((), (), None, True)
    assert contents(made) == before
