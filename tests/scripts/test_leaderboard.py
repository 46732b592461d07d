from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.errors import AlreadyExistsError
from storage.head_place import require_head_place
from storage.store import init_store
from tests.scripts.conftest import Said
from tests.storage.kept_heads import put_heads


def test_the_command_shows_tables_and_says_what_cannot_be_compared(say: Said, tmp_path: Path) -> None:
    put_heads(tmp_path)
    code, out, err = say("leaderboard", tmp_path)
    assert code == 0
    assert out.index("me/better") < out.index("me/good") < out.index("you/other-items") < out.index("tested on unknown items")
    assert "their numbers cannot be compared" in err
    code, out, _ = say("leaderboard", tmp_path, "--set", "me/photos", "--json")
    assert (code, len(json.loads(out)["boards"])) == (0, 3)
    for name in (f"{tmp_path}/me/photos", "me/photos@2", "me/photos/"):
        code, whole, _ = say("leaderboard", tmp_path, "--set", name, "--json")
        assert (code, whole) == (0, out)
    code, _, err = say("leaderboard", tmp_path, "--set", "photos")
    assert (code, "--set takes TEAM/SET" in err) == (2, True)
    code, _, err = say("leaderboard", "nope")
    assert (code, "nope is not a feature store" in err) == (1, True)
    code, _, err = say("leaderboard", tmp_path, "--set", "no/one")
    assert (code, "no tested head on no/one" in err) == (1, True)
    assert say("leaderboard", tmp_path, "--labels", "no.csv")[0] == 1
    code, _, err = say("leaderboard", "https://features.example.org")
    assert (code, "a web server, which lists no heads" in err) == (2, True)


def test_a_damaged_head_is_told_and_the_exit_code_says_so(say: Said, tmp_path: Path) -> None:
    put_heads(tmp_path)
    (tmp_path / "heads" / "me" / "good" / "head.json").write_text("{")
    for words in ([], ["--json"]):
        code, out, err = say("leaderboard", tmp_path, *words)
        assert (code, "the head me/good is not ranked: the head description at" in err) == (3, True)
    assert list(json.loads(out)["damaged"]) == ["me/good"]


def test_a_folder_that_has_lost_its_description_is_told(say: Said, tmp_path: Path) -> None:
    put_heads(tmp_path)
    (tmp_path / "heads" / "me" / "good" / "head.json").rename(tmp_path / "heads" / "me" / "good" / "head.keras")
    code, _, err = say("leaderboard", tmp_path)
    assert (code, "the head me/good is not ranked:" in err, "head.json is not there, beside head.keras" in err) == (3, True, True)
    assert "you/broken" not in err  # an empty folder is no head


def test_a_folder_without_a_head_is_none_for_the_leaderboard_as_for_train(say: Said, tmp_path: Path) -> None:
    put_heads(tmp_path)
    init_store(tmp_path)
    heads = tmp_path / "heads"
    for no_head in ("me/notes", "me/odd/head.json", "me/deep/down"):
        (heads / no_head).mkdir(parents=True)
    (heads / "me" / "notes" / "notes.txt").write_text("of a meeting")
    (heads / "me" / "good" / "head.json").rename(heads / "me" / "deep" / "down" / "head.json")
    (heads / "me" / "good" / "head.keras").unlink()
    code, _, err = say("leaderboard", tmp_path)
    assert (code, "is not ranked" in err) == (0, False)
    for no_head in ("notes", "odd", "deep"):
        with pytest.raises(AlreadyExistsError, match="is not a head folder: choose another --out"):
            require_head_place(heads / "me" / no_head)
