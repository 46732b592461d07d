from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage.catalog import SetQuery, SetSummary, list_manifests, list_sets, look_through, look_through_versions
from storage.errors import DamagedError, NotFoundError, UsageError
from storage.files import write_atomic
from storage.store import ensure_store
from storage.verify import verify_set
from storage.versions import version_path

if TYPE_CHECKING:
    from scripts.made_set import MadeSet

MakeSet = Callable[..., "MadeSet"]


def test_a_set_is_summarised_at_its_newest_version(make_set: MakeSet) -> None:
    made = make_set((2, 2, 3), "float32")
    made.commit("one", {"a": 1, "b": 1, "c": 2})
    newest = made.commit("two", {"d": 3}, rejected=["bad"])
    assert list_sets(made.name.root) == [
        SetSummary(
            name="team/set",
            version=2,
            rows=4,
            bytes=sum(shard.bytes for shard in newest.shards),
            shape=(2, 2, 3),
            dtype="float32",
            backbone="resnet50",
            space_id=made.description.space.id,
            created=newest.created,
            owner="me",
            network="resnet50, pooling avg, input 224 px",
            corpora={"one": "/images/one", "two": "/images/two"},
        )
    ]


def test_a_set_without_versions_is_listed_with_no_rows(make_set: MakeSet) -> None:
    [summary] = list_sets(make_set().name.root)
    assert (summary.version, summary.rows, summary.bytes) == (None, 0, 0)
    assert summary.created == "2025-01-01T00:00:00+00:00"


def test_sets_are_sorted_by_name(make_set: MakeSet) -> None:
    root = make_set(team="b", name="y").name.root
    for team, name in (("b", "x"), ("a", "z"), ("A", "q")):
        make_set(root=root, team=team, name=name)
    assert [summary.name for summary in list_sets(root)] == ["A/q", "a/z", "b/x", "b/y"]


def test_an_empty_store_has_no_sets(tmp_path: Path) -> None:
    ensure_store(tmp_path)
    assert list_sets(tmp_path) == []


def test_heads_files_and_strange_folders_are_no_sets(make_set: MakeSet) -> None:
    root = make_set().name.root
    write_atomic(root / "heads" / "team" / "head" / "head.json", b"{}")
    write_atomic(root / "team" / "notes" / "readme.txt", b"hello")
    write_atomic(root / "team" / "file.txt", b"hello")
    write_atomic(root / ".trash" / "old" / "set.json", b"{}")
    assert [summary.name for summary in list_sets(root)] == ["team/set"]


def test_a_folder_that_is_no_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=rf"{tmp_path} is not a feature store"):
        list_sets(tmp_path)
    with pytest.raises(NotFoundError, match="is not a feature store"):
        list_sets(tmp_path / "gone")


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotFoundError, match="is not a feature store"):
        list_sets(tmp_path / "file")


def test_a_store_of_another_format_is_not_listed(make_set: MakeSet) -> None:
    root = make_set().name.root
    (root / "permafrost.json").write_bytes(b'{"format": 2}')
    with pytest.raises(DamagedError, match=r"permafrost\.json"):
        list_sets(root)


def test_a_damaged_set_is_named(make_set: MakeSet) -> None:
    made = make_set()
    (made.folder / "set.json").write_text("garbage")
    with pytest.raises(DamagedError, match=rf"{made.folder}/set\.json"):
        list_sets(made.name.root)


def test_all_manifests_come_oldest_first(make_set: MakeSet) -> None:
    made = make_set()
    written = [made.commit("one", {"k": number}) for number in range(12)]
    assert list_manifests(made.uri) == written


def test_a_set_without_versions_has_no_manifests(make_set: MakeSet) -> None:
    assert list_manifests(make_set().uri) == []


def test_manifests_of_a_set_that_is_not_there_are_not_found(make_set: MakeSet) -> None:
    with pytest.raises(NotFoundError, match="the store has team/set"):
        list_manifests(f"{make_set().uri}x")


def test_manifests_of_a_malformed_name_are_refused() -> None:
    with pytest.raises(UsageError):
        list_manifests("set")


def test_a_damaged_manifest_is_named(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("one", {"k": 1})
    version_path(made.folder, 1).write_text("{}")
    with pytest.raises(DamagedError, match=r"00000001\.json"):
        list_manifests(made.uri)


def test_a_set_that_has_lost_its_only_version_is_named(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("one", {"k": 1})
    other = make_set(root=made.name.root, name="other")
    version_path(made.folder, 1).unlink()
    found = look_through(made.name.root)
    assert ([each.name for each in found.sets], list(found.damaged)) == (["team/other"], ["team/set"])
    for read in (lambda: list_manifests(made.uri), made.open):
        with pytest.raises(DamagedError, match=r"version 1 should be there \(hint.json tells of it\).*store repair"):
            read()
    assert list_manifests(other.uri) == []


def test_a_damaged_manifest_hides_no_other_version_and_tells_the_way_out(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("one", {"a": 1})
    made.commit("one", {"a": 2})
    version_path(made.folder, 1).write_bytes(b"x")
    manifests, damaged = look_through_versions(made.uri)
    assert ([manifest.version for manifest in manifests], [*damaged]) == ([2], [1])
    assert "00000001.json is not valid JSON" in damaged[1]
    for read in (lambda: made.open("1"), lambda: list_manifests(made.uri)):
        with pytest.raises(DamagedError, match=r"`permafrost store repair` takes it from a copy of the store \(--from ROOT\), or gives up"):
            read()
    [finding] = [each for each in verify_set(made.name, full=True).findings if each.is_damage]
    assert "repair" not in finding.message


def test_a_set_that_has_lost_its_description_is_damaged_and_foreign_to_nobody(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("one", {"a": 1})
    (made.folder / "set.json").unlink()
    with pytest.raises(
        DamagedError, match=r"no set\.json, which says what they are: `permafrost store repair .*/set --from ROOT` takes it"
    ):
        made.open()
    assert [finding.path for finding in verify_set(made.name, full=True).findings] == ["set.json"]


@pytest.fixture(scope="module")
def root(make_set: MakeSet) -> Path:
    """shop/clothes with the corpora photos-2026 and hats, shop/maps without a version, lab/Clothes."""
    made = make_set(team="shop", name="clothes")
    made.commit("photos-2026", {"a": 1})
    made.commit("hats", {"b": 1})
    make_set(root=made.name.root, team="shop", name="maps", pooling="none")
    make_set(root=made.name.root, team="lab", name="Clothes").commit("hats", {"b": 1})
    return Path(str(made.name.root))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["lab/Clothes", "shop/clothes", "shop/maps"]),
        ({"name": "CLOTHES"}, ["lab/Clothes", "shop/clothes"]),
        ({"name": "shop/*"}, ["shop/clothes", "shop/maps"]),
        ({"name": "shop/c?othes"}, ["shop/clothes"]),
        ({"name": "cloth*"}, []),
        ({"backbone": "resnet"}, ["lab/Clothes", "shop/clothes", "shop/maps"]),
        ({"backbone": "pooling none"}, ["shop/maps"]),
        ({"backbone": "vgg"}, []),
        ({"corpus": "2026"}, ["shop/clothes"]),
        ({"corpus": "/images/hats", "name": "lab"}, ["lab/Clothes"]),
        ({"name": "[a-z]"}, []),
    ],
)
def test_sets_are_searched(root: Path, query: dict[str, str], found: list[str]) -> None:
    assert [summary.name for summary in list_sets(root, SetQuery(**query))] == found


def test_sets_of_a_space_are_found_by_the_beginning_of_its_id(root: Path) -> None:
    [maps] = list_sets(root, SetQuery(name="maps"))
    assert list_sets(root, SetQuery(space=maps.space_id[:8].upper())) == [maps]
    with pytest.raises(UsageError, match="beginning of its id"):
        SetQuery(space="resnet")


def test_a_root_may_be_a_text_and_what_can_be_none_is_told(make_set: MakeSet) -> None:
    root = make_set().name.root
    assert list_sets(str(root)) == list_sets(root)
    with pytest.raises(UsageError, match="expected the root of a store, such as 'features' or 's3://features'; got None"):
        list_sets(None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected a text to look for as name, or None for any; got 5"):
        SetQuery(name=5)  # type: ignore[arg-type]
