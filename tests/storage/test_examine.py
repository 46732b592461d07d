"""A store is tried out without leaving anything in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import NotFoundError
from storage.examine import examine_store
from storage.store import init_store


def test_a_folder_can_be_written_by_several(tmp_path: Path) -> None:
    init_store(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    found = examine_store(tmp_path)
    assert (found["kind"], found["sets"], found["writable"]) == ("folder", 0, True)
    assert found["create_ms"] > 0
    assert sorted(tmp_path.rglob("*")) == before


def test_what_cannot_be_written_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init_store(tmp_path)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("storage.examine.probe", refuse)  # root may write anywhere
    assert examine_store(tmp_path) == {"kind": "folder", "sets": 0, "writable": False, "why": "Permission denied"}


def test_a_folder_that_is_no_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not a feature store"):
        examine_store(tmp_path)
