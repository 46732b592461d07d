from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import UsageError
from storage.names import SetName, check_name, parse_set
from storage.place import RemotePlace

NAMES = st.builds(str.__add__, st.sampled_from("aZ09"), st.text(st.sampled_from("aZ09._-"), max_size=99))
TEAMS = NAMES.filter(lambda name: name != "heads")
ROOTS = st.sampled_from([".", "/", "features", "/data/features", "../up", "a b/ü@1", "../../x", "~/features"]).map(Path)


@given(root=ROOTS, team=TEAMS, name=NAMES, at=st.none() | NAMES)
def test_a_name_comes_back_from_its_text(root: Path, team: str, name: str, at: str | None) -> None:
    written = SetName(root, team, name, at)
    assert parse_set(str(written)) == written


@given(root=ROOTS, team=TEAMS, name=NAMES, at=st.none() | NAMES)
def test_a_final_slash_changes_nothing(root: Path, team: str, name: str, at: str | None) -> None:
    written = SetName(root, team, name, at)
    assert parse_set(f"{written}/") == written


@given(text=st.text(st.sampled_from("ab1./@\\\0\n ~-_:ü")))
def test_any_text_is_refused_or_stays_two_folders_below_its_root(text: str) -> None:
    try:
        name = parse_set(text)
    except UsageError:
        return
    assert name.folder == name.root / name.team / name.name
    assert name.folder.parent.parent == name.root
    for part in (name.team, name.name, name.at or "1"):
        assert check_name(part, "part") == part
        assert not set(part) & set("/\\\0\n")
        assert part not in (".", "..")


@pytest.mark.parametrize(
    "text",
    [
        "root/team/..",
        "root/../set",
        "root/./set",
        "root/team/.hidden",
        "root/.team/set",
        "root/team/set@../../x",
        "root/team/set@..",
        "root/team/a\\..\\b",
        "root/team/se\0t",
        "root/team/set\n",
        "root/team/-set",
        "root/team/a b",
        "root/team/ünï",
        "root/team/" + "x" * 101,
        "root/team/set@" + "x" * 101,
        "root/team/set@1@2",
    ],
)
def test_a_name_that_is_no_safe_path_component_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a usable name"):
        parse_set(text)


@pytest.mark.parametrize("text", ["", "/", "set", "/set", "root//set", "root/team/@3"])
def test_a_name_with_a_part_missing_is_answered_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected ROOT/TEAM/SET, such as features/products/resnet50"):
        parse_set(text)


def test_an_at_sign_without_version_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a version number or a tag after '@'"):
        parse_set("root/team/set@")


def test_the_folder_of_heads_is_no_team() -> None:
    with pytest.raises(UsageError, match="'heads' is reserved"):
        parse_set("root/heads/set")


def test_the_name_of_the_store_description_is_no_team() -> None:
    with pytest.raises(UsageError):
        parse_set("root/permafrost.json/set")


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("s3://bucket/team/set", "s3://bucket", "team/set"),
        ("GS://b/p q/r/team/set", "gs://b", "p q/r/team/set"),
        ("az://b/t/s@3", "az://b", "t/s"),
    ],
)
def test_a_store_may_be_a_bucket_or_a_prefix_of_one(text: str, bucket: str, key: str) -> None:
    folder = parse_set(text).folder
    assert isinstance(folder, RemotePlace)
    assert (folder.backend.url, folder.key) == (bucket, key)


def test_a_store_may_be_the_uri_of_a_folder() -> None:
    assert parse_set("file:///x%20y/team/set").folder == Path("/x y/team/set")


@pytest.mark.parametrize("text", ["ftp://host/team/set", "s3://team/set", "s3:///team/set"])
def test_what_can_be_no_store_is_refused_in_words(text: str) -> None:
    with pytest.raises(UsageError, match=r"a folder, or a bucket|expected ROOT/TEAM/SET"):
        parse_set(text)


def test_without_a_root_the_store_is_the_working_folder() -> None:
    assert parse_set("team/set") == SetName(Path("."), "team", "set")
    assert parse_set("/team/set").root == Path("/")


def test_a_longest_name_is_taken() -> None:
    assert check_name("x" * 100, "set") == "x" * 100


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\n", " a", "a ", "\0", "é"])
def test_a_bad_name_is_refused_with_what_it_should_name(name: str) -> None:
    with pytest.raises(UsageError, match="corpus id"):
        check_name(name, "corpus id")
