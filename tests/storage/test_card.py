"""A set's card and its page say what is there, and no commit depends on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.damaged_sets import files_of
from scripts.made_set import MadeSet
from scripts.s3_server import new_bucket
from storage.card import Card, read_card, set_card
from storage.card_page import FILE, MARK, leave_page
from storage.commit import create_set
from storage.errors import DamagedError, UsageError
from storage.expected_versions import missing_versions
from storage.expire import expire_versions
from storage.heads import heads_on, is_in_store
from storage.removal import remove_set
from storage.repair import repair_set
from storage.store import init_store
from storage.tags import move_tag
from storage.transfer import copy_set
from storage.verify import verify_set
from storage.versions import list_versions
from storage.words import source_in_words


@pytest.fixture
def made(make_set: Callable[..., MadeSet]) -> MadeSet:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2}, rejected=["bad"])
    return made


def page(made: MadeSet) -> str:
    return (Path(made.folder) / FILE).read_text()


def front(text: str) -> dict[str, Any]:
    lines = text.split("---\n")[1].splitlines()
    return {name: json.loads(value) for name, value in (line.split(": ", 1) for line in lines)}


def fit_head(made: MadeSet, team: str, head: str, **fields: Any) -> Path:
    folder = made.name.root / "heads" / team / head
    folder.mkdir(parents=True)
    metrics = {"validation": {"rows": 9, "accuracy": 0.5}, "test": {"rows": 9, "accuracy": 0.9371, "confusion": [[1]]}}
    value = {"set": str(made.name), "version": 1, "options": {"head": "mlp"}, "classes": ["x", "y"], "metrics": metrics, **fields}
    (folder / "head.json").write_text(json.dumps(value))
    return folder


def test_each_commit_brings_the_page_up_to_date(made: MadeSet) -> None:
    assert front(page(made)) == {
        "pretty_name": "team/set",
        "size_categories": ["n<1K"],
        "task_categories": ["image-feature-extraction"],
        "tags": ["permafrost", "image-features", "resnet50"],
    }
    for text in (
        "| Owner | me |",
        "| one | /images/one | 3 | 2 | 1 | 0 |",
        made.description.space.id,
        "The newest, 1, is of",
        "[N, 3] float16",
    ):
        assert text in page(made), text
    made.commit("two", {"c": 3})
    move_tag(made.name, "prod")
    assert "| two | /images/two | 1 | 1 | 0 | 0 |" in page(made)
    assert "| prod | 2 |" in page(made)
    expire_versions(replace(made.name), 1, None, remove_them=True)
    assert "1 in the set, 2 to 2." in page(made)
    assert verify_set(made.name, full=True).findings == ()


def test_a_card_is_given_and_changed_and_history_stays(made: MadeSet) -> None:
    before = {path: path.read_bytes() for path in files_of(made) if path.name != FILE}
    set_card(made.name, licence="CC-BY-4.0", description="Photos | <b>\nof *clothes*.")
    card = set_card(made.name, owner="team search")
    assert (card.owner, card.licence) == ("team search", "CC-BY-4.0")
    assert read_card(made.name) == card
    leave_page(made.name)
    assert front(page(made))["license"] == "cc-by-4.0"
    assert "\nPhotos | <b>\nof *clothes*.\n" in page(made)
    assert {path: path.read_bytes() for path in before} == before
    set_card(made.name, licence='ours "only": x')
    leave_page(made.name)
    assert (front(page(made))["license"], front(page(made))["license_name"]) == ("other", 'ours "only": x')
    assert verify_set(made.name, full=True).sound


@pytest.mark.parametrize("texts", [{"owner": "a\nb"}, {"licence": "x" * 201}, {"description": "\x1b[2J"}])
def test_texts_that_could_command_a_terminal_are_refused(made: MadeSet, texts: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="should be"):
        set_card(made.name, **texts)
    with pytest.raises(UsageError, match="leave out '@1'"):
        set_card(replace(made.name, at="1"), owner="me")


def test_a_damaged_card_is_found_stops_nobody_and_is_replaced(made: MadeSet) -> None:
    set_card(made.name, owner="x")
    (made.folder / "card.json").write_bytes(b"garbage")
    assert [finding.path for finding in verify_set(made.name, full=False).findings] == ["card.json"]
    made.commit("two", {"c": 3})
    with pytest.raises(DamagedError):
        read_card(made.name)
    set_card(made.name, owner="y")
    assert read_card(made.name) == Card("y", changed=read_card(made.name).changed)


def test_a_page_of_somebodys_own_is_left_alone(made: MadeSet) -> None:
    (made.folder / FILE).write_text("mine")
    made.commit("two", {"c": 3})
    assert page(made) == "mine"
    (made.folder / FILE).write_text(f"mine\n{MARK}")
    leave_page(made.name)
    assert "mine" not in page(made)


def test_a_page_that_was_changed_in_its_text_or_its_mark_is_damage_and_is_written_anew(made: MadeSet) -> None:
    whole = page(made)
    for old, new in (
        ("## Images", "## images"),
        ("the page is yours", "the page is Yours"),
        ("sha256 of the rest: ", "sha256 of the rest: x"),
    ):
        (made.folder / FILE).write_text(whole.replace(old, new))
        assert [finding.path for finding in verify_set(made.name, full=True).findings] == [FILE]
        assert repair_set(made.name).mended == ((FILE, "the set itself"),)
        assert page(made) == whole


def test_a_page_that_cannot_be_written_is_no_reason_to_stop(made: MadeSet, caplog: pytest.LogCaptureFixture) -> None:
    (made.folder / FILE).unlink()
    (made.folder / FILE).mkdir()
    made.commit("two", {"c": 3})
    assert list_versions(made.folder) == [1, 2]
    assert "README.md of" in caplog.text


def test_heads_on_the_set_are_told_with_how_good_they_are(made: MadeSet) -> None:
    folder = fit_head(made, "me", "best")
    fit_head(made, "me", "of-another-set", set=f"{made.name}x")
    fit_head(made, "you", "old", set=f"{made.name}@1", version=None, metrics={})
    (made.name.root / "heads" / "you" / "broken").mkdir()
    assert [(head.name, head.version, head.kind, head.classes, dict(head.metrics)) for head in heads_on(made.name)] == [
        ("me/best", 1, "mlp", 2, {"accuracy": 0.9371}),
        ("you/old", None, "mlp", 2, {}),
    ]
    leave_page(made.name)
    assert "| me/best | mlp | 2 | 1 | accuracy 0.937 (test) |" in page(made)
    assert is_in_store(folder, made.name)
    assert not is_in_store(made.name.root / "elsewhere", made.name)


def test_a_set_that_is_made_anew_has_none_of_the_heads_of_the_old_one(made: MadeSet) -> None:
    """Those of older versions, which do not tell when their set was made, are older than the new one."""
    fit_head(made, "me", "best", version=9, set_created=made.description.created)
    fit_head(made, "you", "old", version=8, created="2025-06-01T12:00:00+00:00")
    assert [head.name for head in heads_on(made.name)] == ["me/best", "you/old"]
    assert set(missing_versions(made.name)) == {*range(2, 10)}
    remove_set(made.name, remove_it=True)
    anew = MadeSet(made.name, replace(made.description, created="2026-01-01T00:00:00+00:00"))
    create_set(anew.name, anew.description)
    anew.commit("one", {"a": 1})
    assert (heads_on(anew.name), verify_set(anew.name, full=True).findings) == ([], ())


def test_a_head_holds_its_version_though_the_set_was_named_without_one(made: MadeSet) -> None:
    fit_head(made, "me", "best")
    made.commit("two", {"c": 3})
    assert expire_versions(made.name, 1, None, remove_them=True).staying == {1: "head me/best", 2: "newest"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("/data/photos", "/data/photos"),
        ("s3://photos/2026", "s3://photos/2026"),
        ("https://user:secret@example.org:1/x.tar?X-Amz-Signature=secret#s", "https://example.org:1/x.tar"),
        ("https://[broken:secret", "https://..."),
    ],
)
def test_sources_are_told_without_secrets(source: str, told: str) -> None:
    assert source_in_words(source) == told


def test_names_from_outside_make_no_columns_and_no_lines(made: MadeSet) -> None:
    made.commit("x|<script>\n| y", {"c": 3})
    assert "| x\\|&lt;script> \\| y | /images/x" in page(made)


@pytest.mark.slow
def test_card_and_page_go_with_a_copy_and_to_a_bucket(made: MadeSet, server: str, own_cache: None) -> None:
    set_card(made.name, owner="team search")
    place = new_bucket(server)
    init_store(place)
    target = replace(made.name, root=place, name="copy")
    copy_set(made.name, target)
    assert read_card(target).owner == "team search"
    set_card(target, owner="we")
    copy_set(made.name, target)
    assert read_card(target).owner == "we", "the newer one counts"
    text = (place / "team" / "copy" / FILE).backend.read((place / "team" / "copy" / FILE).key).decode()
    assert "# team/copy\n" in text
    assert verify_set(target, full=True).findings == ()
