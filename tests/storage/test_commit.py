from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage.commit import commit, create_set, open_newest
from storage.errors import ConflictError, DamagedError, NotFoundError, PermafrostError, SpaceMismatchError, UsageError
from storage.expire import expire_versions
from storage.feature_set import open_set
from storage.files import create_exclusive, list_names, to_json
from storage.manifest import Manifest, follow
from storage.names import SetName
from storage.sealed import read_sealed, seal
from storage.space import Space
from storage.store import STORE_FORMAT, ensure_store
from storage.versions import list_versions, read_manifest, version_path

if TYPE_CHECKING:
    from scripts.made_set import MadeSet
    from tests.storage.conftest import Process

MakeSet = Callable[..., "MadeSet"]
Start = Callable[..., "Process"]


def save_drafts(made: MadeSet, corpus: str, counts: list[int], first: int = 0) -> list[Path]:
    """Drafts of one corpus that grows, as files that a writer process can read."""
    paths = []
    for count in counts:
        paths.append(made.name.root / f"{corpus}-{count}.json")
        paths[-1].write_bytes(to_json(made.draft(corpus, {f"{corpus}/{i}": first + i for i in range(count)}).to_dict()))
    return paths


def run_together(processes: list[Process]) -> list[list[str]]:
    for process in processes:
        process.wait_for("ready")
    for process in processes:
        process.go()
    return [process.lines() for process in processes]


def test_a_folder_becomes_a_store_and_leaves_no_probe(tmp_path: Path) -> None:
    ensure_store(tmp_path / "new" / "store")
    assert [path.name for path in (tmp_path / "new" / "store").iterdir()] == ["permafrost.json"]
    found = read_sealed(tmp_path / "new" / "store" / "permafrost.json", "store")
    assert found == {"format": STORE_FORMAT, "backend": {"kind": "folder", "exclusive_create": True}}


def test_a_store_stays_as_it_is(tmp_path: Path) -> None:
    ensure_store(tmp_path)
    before = (tmp_path / "permafrost.json").stat()
    ensure_store(tmp_path)
    assert (tmp_path / "permafrost.json").stat().st_mtime_ns == before.st_mtime_ns


def test_a_folder_in_a_store_becomes_none(tmp_path: Path) -> None:
    ensure_store(tmp_path)
    (tmp_path / "team" / "set").mkdir(parents=True)
    for inner in (tmp_path / "team", tmp_path / "team" / "set", tmp_path / "team" / "set" / "deeper"):
        with pytest.raises(UsageError, match=rf"{inner} is a folder of the store {tmp_path}: expected one outside of it"):
            ensure_store(inner)
    assert list(tmp_path.rglob("*.json")) == [tmp_path / "permafrost.json"]
    ensure_store(tmp_path.parent / "beside")


def test_threads_may_make_one_store_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ensure_store, [tmp_path] * 8))
    assert [path.name for path in tmp_path.iterdir()] == ["permafrost.json"]


@pytest.mark.parametrize("found", [0, 2, "1", None])
def test_a_store_of_another_format_is_refused_and_named(tmp_path: Path, found: object) -> None:
    (tmp_path / "permafrost.json").write_bytes(seal({"format": found}))
    with pytest.raises(DamagedError, match=r"permafrost\.json: store format .*, this program reads 1"):
        ensure_store(tmp_path)


def test_a_garbage_store_description_is_damage_and_named(tmp_path: Path) -> None:
    (tmp_path / "permafrost.json").write_text("garbage")
    with pytest.raises(DamagedError, match=r"permafrost\.json"):
        ensure_store(tmp_path)


def test_a_disk_where_one_name_can_be_created_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", shutil.copyfile)  # as on a file system whose link overwrites
    with pytest.raises(PermafrostError, match="lets one name be created twice"):
        ensure_store(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_hard_links_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(PermafrostError, match=str(tmp_path)):
        ensure_store(tmp_path)


def test_a_set_is_made_once_and_then_found(make_set: MakeSet) -> None:
    made = make_set()
    other = replace(made.description, created="later")
    assert create_set(made.name, other) == made.description


def test_threads_that_make_one_set_agree_on_its_description(tmp_path: Path, make_set: MakeSet) -> None:
    description = make_set().description
    name = SetName(tmp_path, "team", "set")
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda i: create_set(name, replace(description, created=str(i))), range(6)))
    assert len({description.created for description in made}) == 1


def test_a_set_in_another_space_is_not_overwritten(make_set: MakeSet, make_space: Callable[..., Space]) -> None:
    made = make_set()
    other = replace(made.description, space=make_space(layer="other"))
    assert create_set(made.name, other).space == made.description.space


def test_the_first_commit_is_version_one(make_set: MakeSet) -> None:
    made = make_set()
    assert made.commit("a", {"k": 1}).version == 1
    assert list_names(made.folder / "versions") == ["00000001.json"]


def test_what_commit_returns_is_what_a_reader_finds(make_set: MakeSet) -> None:
    made = make_set()
    manifest = made.commit("a", {"k": 1})
    assert read_manifest(made.folder, 1) == manifest
    newest = open_newest(made.name)
    assert newest is not None
    assert newest.manifest == manifest


def test_versions_follow_each_other_and_old_ones_stay(make_set: MakeSet) -> None:
    made = make_set()
    manifests = [made.commit("a", {f"k{i}": i for i in range(n)}) for n in (1, 2, 3)]
    assert [(m.version, m.parent) for m in manifests] == [(1, None), (2, 1), (3, 2)]
    assert [read_manifest(made.folder, n) for n in (1, 2, 3)] == manifests


def test_open_newest_looks_past_a_version_in_the_name(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("a", {"k": 1})
    made.commit("a", {"k": 2})
    newest = open_newest(replace(made.name, at="1"))
    assert newest is not None
    assert newest.version == 2


def test_a_commit_from_an_old_base_lands_when_only_other_corpora_moved(make_set: MakeSet) -> None:
    made = make_set()
    base = made.commit("a", {"a": 1})
    made.commit("b", {"b": 2})
    made.commit("c", {"c": 3})
    assert commit(made.name, base, made.draft("a", {"a": 4}), "a").version == 4
    keys, _ = made.open().to_numpy()
    assert keys == ["a", "b", "c"]


def test_a_commit_from_an_old_base_of_its_own_corpus_is_a_conflict(make_set: MakeSet) -> None:
    made = make_set()
    base = made.commit("a", {"a": 1})
    made.commit("a", {"a": 2})
    with pytest.raises(ConflictError, match="corpus 'a' as version 2"):
        commit(made.name, base, made.draft("a", {"a": 3}), "a")
    assert list_versions(made.folder) == [1, 2]


def test_a_commit_leaves_nothing_private(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("a", {"a": 1})
    assert not list(made.name.root.rglob(".*"))


def test_a_link_that_works_but_answers_exists_is_known_by_its_nonce(make_set: MakeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS: the request was done, the answer got lost, and the client's second request finds the name taken."""
    made = make_set()
    draft = made.draft("a", {"a": 1})
    real_link = os.link

    def link(source: Path, target: Path) -> None:
        real_link(source, target)
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", link)
    manifest = commit(made.name, None, draft, "a")
    assert (manifest.version, manifest.nonce) == (1, draft.nonce)
    assert list_versions(made.folder) == [1]


def test_a_lost_race_is_rebased_on_the_winner(make_set: MakeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_set()
    drafts = {corpus: made.draft(corpus, {corpus: number}) for number, corpus in enumerate("abcd")}
    rivals = list("abc")
    real_link = os.link

    def link(source: Path, target: Path) -> None:
        if rivals:  # each time a rival is faster by a hair
            rival = rivals.pop()
            commit(made.name, None, drafts[rival], rival)
        real_link(source, target)

    monkeypatch.setattr(os, "link", link)
    assert commit(made.name, None, drafts["d"], "d").version == 4
    assert set(made.open().manifest.corpora) == set("abcd")


def test_a_number_whose_version_has_expired_meanwhile_is_not_taken_again(make_set: MakeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_set()
    base = made.commit("a", {"a": 1})
    draft = made.draft("a", {"a": 2})
    real_link = os.link

    def link(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", real_link)  # in the moment before: others commit versions 2 and 3, and let 1 and 2 expire
        made.commit("b", {"b": 1})
        made.commit("b", {"b": 2})
        expire_versions(made.name, 1, None, remove_them=True)
        real_link(source, target)

    monkeypatch.setattr(os, "link", link)
    assert commit(made.name, base, draft, "a").version == 4
    assert list_versions(made.folder) == [3, 4]
    assert set(made.open().manifest.corpora) == {"a", "b"}


@pytest.mark.parametrize("expired", [False, True])
def test_a_listing_that_stays_behind_is_looked_past(make_set: MakeSet, monkeypatch: pytest.MonkeyPatch, expired: bool) -> None:
    """As on NFS, where another machine's new names are not seen for a minute."""
    made = make_set()
    base = made.commit("a", {"a": 1})
    for n in (2, 3, 4):
        made.commit("b", {"b": n})
    if expired:
        expire_versions(made.name, 1, None, remove_them=True)
    with monkeypatch.context() as patch:
        patch.setattr("storage.commit.list_versions", lambda _: [1])
        assert commit(made.name, base, made.draft("a", {"a": 2}), "a").version == 5
        with pytest.raises(ConflictError, match="corpus 'a' as version 5"):
            commit(made.name, base, made.draft("a", {"a": 3}), "a")
    assert list_versions(made.folder) == ([4, 5] if expired else [1, 2, 3, 4, 5])
    assert made.open().to_numpy()[0] == ["a", "b"]


def test_a_version_lists_no_file_that_has_gone_meanwhile(make_set: MakeSet) -> None:
    made = make_set()
    draft = made.draft("a", {"a": 1, "b": 2}, per_shard=1)
    (made.folder / draft.shards[0].path).unlink()
    with pytest.raises(ConflictError, match=r"[0-9a-f]{64}\.(parquet|h5): collected as garbage while .*; run it again"):
        commit(made.name, None, draft, "a")
    assert list_versions(made.folder) == []


def test_a_writer_that_loses_every_race_gives_up_in_words(make_set: MakeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_set()
    draft, rival = made.draft("a", {"a": 1}), made.draft("b", {"b": 2})
    real_link = os.link

    def link(source: Path, target: Path) -> None:
        latest = open_newest(made.name)
        manifest = follow(latest.manifest if latest else None, latest.manifest if latest else None, rival, "b")
        Path(target).write_bytes(seal(manifest.to_dict()))
        real_link(source, target)

    monkeypatch.setattr("storage.commit.MAX_REBASES", 3)
    monkeypatch.setattr(os, "link", link)
    with pytest.raises(ConflictError, match="gave up after 3 attempts"):
        commit(made.name, None, draft, "a")
    assert list_versions(made.folder) == [1, 2, 3]


def test_a_crash_before_the_manifest_leaves_the_last_version(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("a", {"a": 1})
    made.draft("a", {"a": 2, "b": 3})  # shards and items are published, the manifest is not
    assert made.open().version == 1
    assert made.open().to_numpy()[0] == ["a"]


@pytest.mark.slow
def test_processes_that_commit_different_corpora_all_land(make_set: MakeSet, start: Start) -> None:
    made = make_set()
    corpora = {"a": 0, "b": 100, "c": 200, "d": 300}
    drafts = {corpus: save_drafts(made, corpus, [1, 2, 3, 4, 5], first) for corpus, first in corpora.items()}
    answers = run_together([start("commit", made.uri, corpus, *paths) for corpus, paths in drafts.items()])
    assert sorted(int(version) for lines in answers for version in lines) == list(range(1, 21))
    assert list_versions(made.folder) == list(range(1, 21))
    manifests = [read_manifest(made.folder, version) for version in range(1, 21)]
    assert [manifest.parent for manifest in manifests] == [None, *range(1, 20)]
    keys, values = made.open().to_numpy()
    assert keys == [f"{corpus}/{i}" for corpus in corpora for i in range(5)]
    assert values.tobytes() == made.embeddings([first + i for first in corpora.values() for i in range(5)]).tobytes()


@pytest.mark.slow
def test_no_version_between_loses_what_a_process_committed(make_set: MakeSet, start: Start) -> None:
    made = make_set()
    drafts = {corpus: save_drafts(made, corpus, [1, 2, 3], first) for corpus, first in (("a", 0), ("b", 100))}
    run_together([start("commit", made.uri, corpus, *paths) for corpus, paths in drafts.items()])
    rows = [{name: state.rows for name, state in read_manifest(made.folder, n).corpora.items()} for n in list_versions(made.folder)]
    for before, after in pairwise(rows):
        grown = {name: after[name] - before.get(name, 0) for name in after}
        assert sorted(grown.values())[-1] == 1
        assert sum(grown.values()) == 1


@pytest.mark.slow
def test_processes_that_commit_one_corpus_have_one_winner_and_conflicts(make_set: MakeSet, start: Start) -> None:
    made = make_set()
    paths = save_drafts(made, "a", [1, 2, 3])
    answers = run_together([start("commit", made.uri, "a", path) for path in paths])
    assert sorted(lines[0] for lines in answers) == ["1", "conflict", "conflict"]
    [winner] = [path for path, lines in zip(paths, answers, strict=True) if lines == ["1"]]
    assert f"a-{made.open().rows}.json" == winner.name
    assert list_versions(made.folder) == [1]


def test_a_writer_killed_in_the_middle_of_a_shard_leaves_the_last_version_and_no_half_file(make_set: MakeSet, start: Start) -> None:
    made = make_set()
    made.commit("a", {"a": 1})
    listed = list_names(made.folder / "shards")
    process = start("shard", made.uri)
    process.wait_for("ready")
    process.go()
    process.wait_for("middle")
    assert len(list((made.folder / "shards").iterdir())) == 2  # the half file is there, privately
    process.kill()
    assert list_names(made.folder / "shards") == listed
    assert made.open().to_numpy()[1].tobytes() == made.embeddings([1]).tobytes()
    assert made.commit("a", {"a": 2}).version == 2


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_whole_versions_only(make_set: MakeSet, start: Start) -> None:
    made = make_set()
    made.commit("a", {"a": 1})
    paths = save_drafts(made, "a", [4, 1])
    rolls = random.Random(7)
    for _ in range(3):
        before = len(list_versions(made.folder))
        process = start("endless", made.uri, "a", *paths)
        process.wait_for("ready")
        process.go()
        while len(list_versions(made.folder)) == before:
            time.sleep(0.001)
        time.sleep(rolls.random() / 20)
        process.kill()
        versions = list_versions(made.folder)
        assert versions == list(range(1, len(versions) + 1))
        assert {read_manifest(made.folder, version).counts["rows"] for version in versions} <= {1, 4}
        assert len(made.open().to_numpy()[0]) == made.open().rows


def test_a_manifest_with_a_gap_before_it_still_counts_up(make_set: MakeSet) -> None:
    """As after `expire`: old versions are gone, numbers are never used again."""
    made = make_set()
    for n in (1, 2, 3):
        made.commit("a", {"a": n})
    version_path(made.folder, 1).unlink()
    version_path(made.folder, 2).unlink()
    assert made.commit("a", {"a": 4}).version == 4
    assert list_versions(made.folder) == [3, 4]


def test_a_damaged_latest_manifest_stops_a_commit_in_words(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("a", {"a": 1})
    version_path(made.folder, 1).write_text("garbage")
    with pytest.raises(DamagedError, match=r"00000001\.json"):
        commit(made.name, None, made.draft("b", {"b": 1}), "b")


def test_a_set_without_versions_has_no_newest_and_cannot_be_read(make_set: MakeSet) -> None:
    made = make_set()
    assert open_newest(made.name) is None
    with pytest.raises(NotFoundError, match="no committed version yet"):
        open_set(made.name)


def test_a_rival_file_in_the_place_of_a_version_is_never_overwritten(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("a", {"a": 1})
    before = version_path(made.folder, 1).read_bytes()
    made.commit("b", {"b": 1})
    assert version_path(made.folder, 1).read_bytes() == before


def test_a_draft_of_another_space_is_refused(make_set: MakeSet) -> None:
    made = make_set()
    base = made.commit("a", {"a": 1})
    stranger: Manifest = replace(made.draft("b", {"b": 2}), space_id="9" * 64)
    with pytest.raises(SpaceMismatchError, match=rf"{made.folder} is in space {made.description.space.id[:12]}, .* in 999999999999"):
        commit(made.name, base, stranger, "b")
    assert list_versions(made.folder) == [1]


def test_create_exclusive_is_what_protects_a_version(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("a", {"a": 1})
    with pytest.raises(FileExistsError):
        create_exclusive(version_path(made.folder, 1), b"{}")
