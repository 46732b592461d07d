from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from extractor.content import read_content
from extractor.item_places import locate_items
from scripts.corpus_images import images_of
from scripts.made_set import MadeSet, made_space, new_set
from storage.errors import NotFoundError, UsageError
from storage.names import SetName
from storage.space import space_of_pixels

PICTURES = {"ant/1.jpg": 1, "ant/2.jpg": 2, "bee/3.jpg": 3, "bee/copy.jpg": 3}


@pytest.fixture
def made(tmp_path: Path) -> MadeSet:
    """Pictures are numbers, and so is what their files hold."""
    made = new_set(SetName(tmp_path / "store", "me", "photos"), made_space(), "parquet")
    made.commit("photos", PICTURES)
    return made


def write_files(folder: Path, pictures: dict[str, int]) -> Path:
    for key, picture in pictures.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_text(str(picture))
    return folder


def write_tar(path: Path, folder: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        for file in sorted(folder.rglob("*.jpg")):
            tar.add(file, file.relative_to(folder).as_posix())
    return path


def found(made: MadeSet, source: Path, notes: list[str]) -> dict[str, str]:
    feature_set = made.open()
    places = locate_items(feature_set, {"photos": str(source)}, notes.append)
    contents = [read_content(location).encoded.decode() if location else "" for location in places.locations]
    return dict(zip(feature_set.columns("key")["key"].to_pylist(), contents, strict=True))


def test_items_are_found_by_key_and_nothing_is_read(made: MadeSet, tmp_path: Path) -> None:
    notes: list[str] = []
    folder = write_files(tmp_path / "moved", {**PICTURES, "ant/new.jpg": 7})
    assert found(made, folder, notes) == {key: str(picture) for key, picture in PICTURES.items()}
    assert notes == []


def test_items_of_other_keys_are_found_by_content(made: MadeSet, tmp_path: Path) -> None:
    notes: list[str] = []
    folder = write_files(tmp_path / "moved", {"ant/1.jpg": 1, "else/b.jpg": 3, "else/c.jpg": 9})
    for source, told in {
        folder: "3 of 4 items of .* are not in .*moved by their keys (such as ant/2.jpg; there else/b.jpg): 2 images there are read",
        write_tar(
            tmp_path / "renamed.tar", folder
        ): "4 of 4 items .* (such as ant/1.jpg; there renamed.tar/ant/1): 3 images there are read",
    }.items():
        assert found(made, source, notes) == {"ant/1.jpg": "1", "ant/2.jpg": "", "bee/3.jpg": "3", "bee/copy.jpg": "3"}
        assert re.match(told.replace("(", r"\(").replace("):", r"\):"), notes.pop())


def test_a_source_without_any_of_the_items_is_told_with_keys_of_both(made: MadeSet, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "others", {"x.jpg": 8})
    with pytest.raises(
        UsageError, match=r"has none of the 4 items of .* \(such as ant/1.jpg; there x.jpg\): nor anything of their content"
    ):
        found(made, folder, [])
    with pytest.raises(NotFoundError, match=r"--corpus for photos of .*: no such folder, list or container: .*nowhere"):
        found(made, tmp_path / "nowhere", [])
    with pytest.raises(NotFoundError, match=r"are no longer at /images/photos .* pass --corpus with where they are now"):
        locate_items(made.open(), {}, [].append)


def test_a_corpus_that_the_set_has_not_is_told(made: MadeSet) -> None:
    with pytest.raises(UsageError, match=r"has no corpus 'nope', which --corpus nope=small names: expected one of photos"):
        images_of(made.open(), space_of_pixels(32, "image-v1"), ["nope=small"])
