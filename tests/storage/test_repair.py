"""What is damaged comes from a copy, or is given back to extraction; never is it left to be trusted."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts.damaged_sets import DAMAGE, files_of, fill
from scripts.made_set import MadeSet
from storage.catalog import list_sets
from storage.errors import NotFoundError, PermafrostError, UsageError
from storage.expire import expire_versions
from storage.export import export_set
from storage.feature_set import open_set
from storage.import_features import import_features
from storage.import_options import ImportOptions
from storage.index import committed_index
from storage.names import SetName
from storage.repair import repair_set
from storage.tags import move_tag, remove_tag
from storage.takedown import Request, take_down
from storage.verify import verify_set
from storage.way_out import ways_out, ways_to_pending

pytestmark = pytest.mark.slow


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
    needed = [path for path in before if path.name != "README.md"]
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


def test_of_a_copy_that_went_on_otherwise_only_what_both_have_is_taken(made: MadeSet, copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = replace(made, name=SetName(copy, made.name.team, made.name.name))
    for each, picture in ((made, 50), (other, 60)):
        each.commit("two", {"b/0": picture})
        each.commit("two", {"b/0": picture + 1})
        move_tag(replace(each.name, at="4"), "mine")
    folder = Path(str(made.folder))
    shard = folder / made.open("1").manifest.shards[0].path
    before = {path: path.read_bytes() for path in files_of(made)}
    for path in ("versions/00000002.json", "versions/00000004.json", "tags/mine.json", "tags/prod.json", "hint.json", "catalog.json"):
        (folder.parents[1] if path == "catalog.json" else folder).joinpath(path).write_bytes(b"garbage")
    shard.unlink()
    repair = repair_set(made.name, [copy])
    assert "has gone on by itself: version 5 is another one there. Taken from it are versions up to 3, which both have" in caplog.text
    assert {path for path, _ in repair.mended} >= {"versions/00000002.json", "tags/prod.json", str(shard.relative_to(folder))}
    assert [f.path for f in repair.left.findings if f.is_damage] == ["versions/00000004.json", "tags/mine.json"]
    for path in set(before) - {folder / "versions/00000004.json", folder / "tags/mine.json", folder / "README.md"}:
        assert path.read_bytes() == before[path], path
    assert made.open().by_key(["b/0"]).embeddings.tolist() == [made.embedding(51).tolist()]


def test_that_nothing_confirms_a_copy_is_said(made: MadeSet, copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where all versions are lost, one that has gone on by itself looks like any other."""
    at = SetName(copy, "team", "set")
    MadeSet(at, made.description).commit("two", {"b/9": 90})
    made.commit("two", {"b/8": 80})
    for path in Path(str(made.folder), "versions").iterdir():
        path.unlink()
    repair = repair_set(made.name, [copy])
    assert "nothing confirms that the versions of" in caplog.text
    assert re.search(r"has 2 files that none of them lists, such as items/.*: .* Before `gc` removes them", caplog.text)
    assert repair.left.sound


def test_the_store_itself_is_no_copy(made: MadeSet) -> None:
    with pytest.raises(UsageError, match="is the store of the set itself, and no copy of it"):
        repair_set(made.name, [made.name.root])


def test_a_damaged_shard_without_a_copy_is_given_back_to_extraction(made: MadeSet) -> None:
    entry = made.open().manifest.shards[0]
    path = made.folder / entry.path
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert repair_set(made.name).given_up == ()
    assert path.exists()
    repair = repair_set(made.name, give_up=True)
    assert (repair.given_up, repair.version) == ((entry.path,), 4)
    assert not path.exists()
    index = committed_index(made.name)
    assert entry.sha256 in index.unusable
    require_without(made, entry.sha256)


def require_without(made: MadeSet, shard: str) -> None:
    """Version 4 has what 3 has, but for the items of a shard; verification finds the older ones damaged."""
    before = {row["key"]: row for row in made.open("3").items.to_pylist()}
    kept = {key: row for key, row in before.items() if row["shard"] != shard}
    now = made.open()
    assert (now.version, {row["key"]: row for row in now.items.to_pylist()}) == (4, kept)
    assert len(now.to_numpy()[0]) == len(kept) < len(before)
    assert now.manifest.counts["pending"] == len(before) - len(kept)
    assert now.manifest.counts["listed"] == made.open("3").manifest.counts["listed"]
    assert shard not in {entry.sha256 for entry in now.manifest.shards}
    found = verify_set(made.name, full=True)
    assert {version for finding in found.findings for version in finding.versions} < {1, 2, 3}
    assert not found.sound
    again = repair_set(made.name, give_up=True)
    assert (again.given_up, again.version) == ((), None)
    expire_versions(made.name, 1, None, remove_them=True)
    remove_tag(made.name, "prod")
    expire_versions(made.name, 1, None, remove_them=True)
    assert verify_set(made.name, full=True).sound


def test_a_shard_that_is_missing_is_not_told_as_removed(made: MadeSet) -> None:
    entry = made.open().manifest.shards[0]
    (made.folder / entry.path).unlink()
    repair = repair_set(made.name, give_up=True)
    assert (repair.given_up, repair.version) == ((), 4)
    require_without(made, entry.sha256)


def test_corpora_that_share_a_lost_shard_lose_it_in_one_version(made: MadeSet) -> None:
    made.commit("two", {"b/0": 4, "b/1": 5, "b/2": 6, "c": 20})
    state = made.open().manifest.corpora
    for entry in made.open().manifest.shards:
        if entry.sha256 in state["one"].shards and entry.sha256 in state["two"].shards:
            (made.folder / entry.path).unlink()
    repair = repair_set(made.name, give_up=True)
    assert repair.version == 5
    assert {corpus: each.pending for corpus, each in made.open().manifest.corpora.items()} == {"one": 3, "two": 3}


def test_an_import_brings_back_what_was_given_up(made: MadeSet, tmp_path: Path) -> None:
    export_set(made.open(), tmp_path / "all.npz")
    target = SetName(tmp_path / "other", "team", "set")
    import_features(tmp_path / "all.npz", str(target), ImportOptions(corpus="one"))
    before = open_set(target).to_numpy()
    for entry in open_set(target).manifest.shards:
        (target.folder / entry.path).write_bytes(b"x")
    repair = repair_set(target, give_up=True)
    assert (repair.version, open_set(target).manifest.counts["pending"], open_set(target).rows) == (2, 5, 0)
    [way] = ways_to_pending(target)
    assert ("permafrost store import" in way, str(tmp_path / "all.npz") in way, "5 items" in way) == (True, True, True), way
    result = import_features(tmp_path / "all.npz", str(target), ImportOptions(corpus="one"))
    assert (result.version, result.rows, open_set(target).manifest.counts["pending"]) == (3, 5, 0)
    after = open_set(target).to_numpy()
    assert after[0] == before[0]
    np.testing.assert_array_equal(after[1], before[1])
    assert verify_set(target, full=True).sound, "the same shard has the same name"


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


def test_where_nothing_can_be_committed_the_way_out_is_told(made: MadeSet) -> None:
    (Path(made.folder) / made.open().manifest.shards[0].path).unlink()
    (Path(made.folder) / "set.json").write_bytes(b"x")
    repair = repair_set(made.name, give_up=True)
    assert (repair.version, repair.left.sound) == (None, False)
    assert any("set.json says what the set is" in way for way in ways_out(made.name, repair.left))


def test_what_a_copy_from_before_a_takedown_lists_is_given_up_with_what_took_its_place(made: MadeSet, copy: Path) -> None:
    take_down(made.name.root, None, Request(images=(made.digest(5).hex(),)), do_it=True)
    [entry] = made.open().manifest.corpora["one"].items
    for path in (entry.path, "versions/00000003.json"):
        (Path(made.folder) / path).unlink()
    assert [path for path, _ in repair_set(made.name, [copy]).mended] == ["versions/00000003.json"]
    repair = repair_set(made.name, give_up=True)
    assert repair.version == 4
    assert all(max(finding.versions) < 4 for finding in repair.left.findings if finding.is_damage)
    made.commit("one", {"a/4": 4})
    assert made.open().rows == 6


def test_no_copy_brings_back_what_only_a_receipt_says_has_left(made: MadeSet, copy: Path) -> None:
    done = take_down(made.name.root, None, Request(images=(made.digest(5).hex(),)), do_it=True)
    gone = {file.sha256 for each in done.sets for file in each.files}
    [record] = (Path(made.name.root) / "takedowns").glob("record-*.json")
    for path in (record, Path(made.folder) / "versions" / "00000003.json"):
        path.write_bytes(b"x")
    assert [path for path, _ in repair_set(made.name, [copy]).mended] == ["versions/00000003.json"]
    assert gone.isdisjoint(path.stem for path in Path(made.folder).rglob("*.*"))
    assert repair_set(made.name, give_up=True).left.sound
    assert made.open().rows == 9


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


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"{}")])
@pytest.mark.parametrize("file", ["hint.json", "../../catalog.json"])
def test_what_readers_over_the_web_go_by_is_made_anew(
    made: MadeSet, make_set: Callable[..., MadeSet], file: str, harm: Callable[[Path], object]
) -> None:
    make_set(root=made.name.root, name="other").commit("one", {"a": 1})
    path = Path(made.folder) / file
    before = path.read_bytes()
    harm(path)
    found = verify_set(made.name, full=False).findings
    assert [finding.path for finding in found] == [file]
    repair = repair_set(made.name)
    assert (repair.mended, repair.left.findings) == (((file, "the set itself"),), ())
    assert path.read_bytes() == before, "of a catalog with all sets in it"
    assert len(list_sets(made.name.root)) == 2


def test_a_root_that_is_no_store_has_no_copy(made: MadeSet, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no store at .*/nonexistent to take anything from"):
        repair_set(made.name, [tmp_path / "nonexistent"])


def test_for_what_nothing_can_be_given_up_the_way_out_is_told(made: MadeSet) -> None:
    """And none of them is to give up, which was done."""
    folder = Path(made.folder)
    golden = folder / made.open().manifest.golden.path
    shard = folder / made.open("2").manifest.shards[0].path
    harmed = [folder / "set.json", folder / "card.json", golden, folder / "runs" / "20261127T120000Z-00000000" / "plan.json"]
    for path in (*harmed, Path(made.name.root) / "permafrost.json", shard):
        path.write_bytes(b"x")
    left = verify_set(made.name, full=True)
    ways = ways_out(made.name, left)
    for text in ("nothing can make it again", "store card", "golden images", "log of a run", "store init", "--keep"):
        assert sum(text in way for way in ways) == 1, (text, ways)
    assert not any("--give-up" in way for way in ways)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_this_user_may_not_read_is_not_given_up(made: MadeSet) -> None:
    path = Path(made.folder) / made.open().manifest.shards[0].path
    path.chmod(0)
    with pytest.raises(PermafrostError, match="cannot be read by this user"):
        repair_set(made.name, give_up=True)
    assert path.exists()
