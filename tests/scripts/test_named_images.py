from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.named_images import name_images
from storage.errors import NotFoundError, UsageError


def test_files_uris_folders_and_lists_are_named_as_the_user_knows_them(
    make_corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_corpus(3)
    Path("l.csv").write_text(f"key,path\none,photos/ant/0001.jpg\ntwo,gone.jpg\nthree,file://{tmp_path}/photos/ant/0002.png\n")
    images = name_images(["photos/ant/0001.jpg", "s3://bucket/x.png", "photos", "l.csv"])
    assert images.names == [
        "photos/ant/0001.jpg", "s3://bucket/x.png", "photos/ant/0001.jpg", "photos/ant/0002.png", "photos/bee/0000.png", "one", "three"
    ]  # fmt: skip
    assert images.locations[:2] == ["photos/ant/0001.jpg", "s3://bucket/x.png"]
    assert images.locations[2:] == [
        *(str(tmp_path / name) for name in images.names[2:5]), str(tmp_path / "photos/ant/0001.jpg"), str(tmp_path / "photos/ant/0002.png")
    ]  # fmt: skip
    assert [(reject["image"], reject["reason"]) for reject in images.rejects] == [("two", "missing")]


def test_what_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match=r"no such image: gone\.csv"):
        name_images(["gone.csv"])
    Path("numbers.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="must have a column path"):
        name_images(["numbers.csv"])


def test_names_that_are_no_unicode_are_shown_escaped_and_read_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"caf\xe9.jpg")
    Path(name).write_bytes(b"x")
    images = name_images([name])
    assert (images.names, images.locations) == (["caf\\xe9.jpg"], [name])
