"""One contract for whatever keeps the bytes of a store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripts.s3_server import new_bucket
from storage.disk import sha256_file
from storage.errors import AlreadyExistsError
from storage.files import (
    create_exclusive,
    exists,
    list_names,
    modified,
    private_file,
    publish_as,
    publish_by_content,
    read_bytes,
    remove,
    remove_private_files,
    size_of,
    write_atomic,
)
from storage.place import Place

pytestmark = pytest.mark.slow

ODD = "Größe 100% #1 + a&b=c?.json"


@pytest.fixture(params=["disk", "bucket"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return tmp_path / "team features" if request.param == "disk" else new_bucket(request.getfixturevalue("server"))


def test_what_is_written_is_read(root: Place) -> None:
    place = root / "a" / ODD
    assert (size_of(place), exists(place)) == (None, False)
    write_atomic(place, b"old")
    write_atomic(place, b"newer")
    assert (read_bytes(place), size_of(place), exists(place)) == (b"newer", 5, True)
    write_atomic(root / "empty", b"")
    assert (read_bytes(root / "empty"), size_of(root / "empty")) == (b"", 0)


def test_what_is_not_there(root: Place) -> None:
    with pytest.raises(FileNotFoundError):
        read_bytes(root / "nothing")
    with pytest.raises(FileNotFoundError):
        modified(root / "nothing")
    assert list_names(root / "nothing") == []
    remove(root / "nothing")


def test_names_of_a_folder_are_its_files_and_folders_without_private_ones(root: Place) -> None:
    for name in ("b/c/d.json", "b/e.json", "b/.private", "bc.json", f"b/{ODD}"):
        write_atomic(root / name, b"x")
    assert list_names(root) == ["b", "bc.json"]
    assert list_names(root / "b") == [ODD, "c", "e.json"]
    assert not exists(root / "b"), "a folder is no file"


def test_many_names_come_in_pages(root: Place) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: write_atomic(root / "many" / f"{i:04d}", b"x"), range(1100)))
    assert list_names(root / "many") == [f"{i:04d}" for i in range(1100)]


def test_a_name_is_created_once(root: Place) -> None:
    create_exclusive(root / "a" / "b.json", b"mine")
    with pytest.raises(AlreadyExistsError, match="exists already"):
        create_exclusive(root / "a" / "b.json", b"yours")
    assert read_bytes(root / "a" / "b.json") == b"mine"


def test_one_of_many_racing_writers_wins(root: Place) -> None:
    for number in range(5):
        place, start = root / f"{number}.json", threading.Barrier(8)

        def race(writer: int, place: Place = place, start: threading.Barrier = start) -> bool:
            start.wait()
            try:
                create_exclusive(place, f"writer {writer}".encode())
            except AlreadyExistsError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(race, range(8)))
        assert sum(won) == 1
        assert read_bytes(place) == f"writer {won.index(True)}".encode()


def test_a_removed_file_is_gone(root: Place) -> None:
    write_atomic(root / "a", b"x")
    remove(root / "a")
    assert not exists(root / "a")
    create_exclusive(root / "a", b"again")


def test_a_large_file_arrives_whole(root: Place) -> None:
    content = bytes(range(256)) * 50_000  # 12.8 MB: more than one part of an upload
    with private_file(root / "shards", "run-") as partial:
        partial.write_bytes(content)
        expected = sha256_file(partial)
        name, size = publish_by_content(partial, root / "shards", ".parquet")
    assert (name, size) == (expected, len(content))
    assert list_names(root / "shards") == [f"{expected}.parquet"]
    assert read_bytes(root / "shards" / f"{expected}.parquet") == content


def test_nothing_is_seen_of_what_was_not_published(root: Place) -> None:
    with private_file(root / "shards", "run-") as partial:
        partial.write_bytes(b"half")
        assert list_names(root / "shards") == []
    assert not partial.exists()


def test_what_a_killed_process_left_is_removed_by_its_owner(root: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with private_file(root / "shards", "run-1-") as one, private_file(root / "shards", "run-2-") as other:
        one.write_bytes(b"left")
        other.write_bytes(b"at work")
        remove_private_files(root / "shards", "run-1-")
        assert not one.exists()
        assert other.exists()


def test_publishing_replaces(root: Place) -> None:
    for content in (b"old", b"new"):
        with private_file(root / "a") as partial:
            partial.write_bytes(content)
            publish_as(partial, root / "a" / "receipt.parquet")
    assert read_bytes(root / "a" / "receipt.parquet") == b"new"


def test_the_time_of_a_file_is_that_of_its_writing(root: Place) -> None:
    write_atomic(root / "a", b"x")
    assert abs(modified(root / "a") - time.time()) < 5


def test_a_place_says_where_it_is(root: Place) -> None:
    assert str(root / "a" / ODD).endswith(f"team features/a/{ODD}")
    assert (root / "a" / "b.json").name == "b.json"
    assert (root / "a" / "b.json").stem == "b"
    assert (root / "a" / "b.json").parent == root / "a"
    assert (root / "a" / "b.json").parts[-2:] == ("a", "b.json")


Write = Callable[[Place, bytes], None]


@pytest.mark.parametrize("write", [write_atomic, create_exclusive])
def test_folders_need_not_be_made(root: Place, write: Write) -> None:
    write(root / "x" / "y" / "z", b"1")
    assert list_names(root / "x" / "y") == ["z"]
