from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import UsageError
from storage.head_place import require_head_place
from storage.store import init_store


def test_a_head_in_a_store_has_a_team_and_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init_store(root := tmp_path / "store")
    for place in (root / "heads" / "me" / "best", tmp_path / "anywhere" / "else", root.parent / "head"):
        require_head_place(place)
    for place in ("heads/best", "heads/a/b/c", "me/best", "heads"):
        with pytest.raises(UsageError, match=r"whose heads are at .*heads/TEAM/HEAD"):
            require_head_place(root / place)
    with pytest.raises(UsageError, match=r"head '\.best' is not a usable name"):
        require_head_place(root / "heads" / "me" / ".best")
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(UsageError, match="you may not write"):
        require_head_place(root / "heads" / "me" / "best")


def test_a_file_in_the_way_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "photos.csv").write_text("key,label")
    with pytest.raises(UsageError, match=r"photos\.csv is a file, not a folder: choose another --out"):
        require_head_place(tmp_path / "photos.csv" / "heads" / "best")
