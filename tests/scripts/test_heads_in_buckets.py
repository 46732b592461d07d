"""A head of a store in a bucket: kept, ranked, measured and used as one on a disk is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.errors import AlreadyExistsError, UsageError
from storage.files import exists, list_names, read_bytes, write_atomic
from storage.head_place import parse_head, require_head_place, work_folder
from storage.names import parse_root
from storage.place import Place
from storage.shard_cache import cached_files, unfinished_folder
from storage.store import init_store
from tests.scripts.conftest import Said
from tests.trainer.conftest import _separable_rows, write_set_to
from trainer.head_folder import load_head


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    from scripts.s3_server import new_bucket, serve  # half a second, which a process that runs other tests need not spend

    monkeypatch.setenv("PERMAFROST_CACHE", str(tmp_path / "cache"))
    with serve() as address:
        init_store(root := new_bucket(address))
        yield root


@pytest.mark.slow
def test_every_command_takes_a_head_of_a_bucket(say: Said, bucket: Place, tmp_path: Path) -> None:
    uri, head = write_set_to(f"{bucket}/team/set", _separable_rows(20)), f"{bucket}/heads/me/best"
    assert say("train", uri, "--head", "class-mean", "--out", head)[0] == 0
    assert list_names(bucket / "heads" / "me" / "best") == ["head.json", "head.keras"]
    assert "me/best" in read_bytes(bucket / "team" / "set" / "README.md").decode()
    code, out, _ = say("leaderboard", bucket, "--json")
    assert (code, json.loads(out)["boards"][0]["heads"][0]["name"]) == (0, "me/best")
    code, out, _ = say("evaluate", head, uri, "--against", head, "--json")
    assert (code, json.loads(out)["against"]["rows"]) == (0, 60), out
    assert say("predict", head, uri, "--out", "said.csv")[0] == 0
    assert say("sweep", uri, "--head", "ridge", "--alpha", "1,10", "--seeds", "1", "--out", f"{bucket}/heads/me/swept")[0] == 0
    assert exists(bucket / "heads" / "me" / "swept" / "sweep.json")
    assert not list_names(unfinished_folder())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "said.csv"]
    assert load_head(head).predict(np.zeros((1, 8), np.float16)).shape == (1, 3)
    code, _, err = say("evaluate", f"{bucket}/heads/me/none", uri)
    assert (code, "no head at s3://" in err) == (1, True)


def test_a_head_in_a_bucket_is_one_of_a_store(bucket: Place) -> None:
    for place in (bucket / "team" / "set", bucket / "heads" / "best", bucket / "heads"):
        with pytest.raises(UsageError, match=r"whose heads are at s3://.*/heads/TEAM/HEAD"):
            require_head_place(place)
    with pytest.raises(UsageError, match="is in no store: heads in a bucket are those of a store"):
        require_head_place(bucket.parent / "elsewhere" / "heads" / "me" / "best")
    write_atomic(bucket / "heads" / "me" / "notes" / "a.txt", b"notes")
    with pytest.raises(AlreadyExistsError, match="is not a head folder"):
        require_head_place(bucket / "heads" / "me" / "notes")
    require_head_place(bucket / "heads" / "me" / "new")
    assert list_names(bucket / "heads" / "me") == ["notes"]


def test_a_place_behind_a_web_server_takes_no_head() -> None:
    with pytest.raises(UsageError, match="behind a web server, where nothing can be written"):
        require_head_place(parse_head("https://features.example.org/heads/me/best"))


@pytest.mark.parametrize(
    ("head", "why"), [("", "got an empty text"), (Path("s3://features/heads/a/b"), "pathlib takes a slash away"), ("ftp://a/b", "no store")]
)
def test_what_can_be_no_place_of_a_head(head: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_head(head)


def test_work_of_a_head_in_a_bucket_is_kept_here_and_is_no_cached_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERMAFROST_CACHE", str(tmp_path))
    first, second = (work_folder(parse_root(f"s3://{name}/heads/me/best"), "sweep") for name in ("one", "two"))
    assert first != second
    first.mkdir(parents=True)
    assert cached_files() == []
    assert work_folder(tmp_path / "best", "sweep") == tmp_path / ".best.sweep"
