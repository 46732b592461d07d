from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.disk import sha256_file
from storage.errors import AlreadyExistsError, DamagedError, NotFoundError
from storage.files import create_exclusive, free_bytes, list_names, private_file, publish_by_content, read_json, to_json, write_atomic

if TYPE_CHECKING:
    from tests.storage.conftest import Process

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
    max_leaves=10,
)


def everything(folder: Path) -> list[str]:
    """All names, private ones too."""
    return sorted(path.name for path in folder.iterdir())


def test_write_atomic_makes_the_folders_and_the_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b" / "c.json", b"content")
    assert (tmp_path / "a" / "b" / "c.json").read_bytes() == b"content"


def test_write_atomic_replaces_and_leaves_nothing_private(tmp_path: Path) -> None:
    write_atomic(tmp_path / "f", b"old")
    write_atomic(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"
    assert everything(tmp_path) == ["f"]


def test_a_reader_sees_the_old_content_or_the_new_never_a_mixture(tmp_path: Path) -> None:
    path = tmp_path / "f"
    contents = [bytes([i]) * 200_000 for i in range(30)]
    write_atomic(path, contents[0])
    done = threading.Event()

    def write_all() -> None:
        for content in contents:
            write_atomic(path, content)
        done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write_all)
        while not done.is_set():
            assert path.read_bytes() in contents
        writing.result()
    assert path.read_bytes() == contents[-1]


@pytest.mark.slow
def test_a_full_disk_leaves_the_old_content_and_nothing_private(tmp_path: Path, start: Callable[..., Process]) -> None:
    (tmp_path / "f").write_text("old")
    process = start("limited", tmp_path / "f")
    process.wait_for("ready")
    process.go()
    assert process.lines() == ["refused"]
    assert (tmp_path / "f").read_text() == "old"
    assert everything(tmp_path) == ["f"]


def test_a_writer_killed_in_the_middle_leaves_the_old_content_and_lists_nothing_new(tmp_path: Path, start: Callable[..., Process]) -> None:
    (tmp_path / "f").write_text("old")
    process = start("atomic", tmp_path / "f")
    process.wait_for("ready")
    process.go()
    process.wait_for("middle")
    process.kill()
    assert (tmp_path / "f").read_text() == "old"
    assert list_names(tmp_path) == ["f"]


def test_a_private_file_is_removed_when_its_writer_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with private_file(tmp_path / "new") as partial:
            partial.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert everything(tmp_path / "new") == []


def test_a_private_file_is_hidden_from_listings(tmp_path: Path) -> None:
    with private_file(tmp_path) as partial:
        partial.write_bytes(b"half")
        assert list_names(tmp_path) == []


def test_private_names_are_new_each_time(tmp_path: Path) -> None:
    with private_file(tmp_path) as one, private_file(tmp_path) as other:
        assert one != other


def test_create_exclusive_makes_the_folders_and_the_file(tmp_path: Path) -> None:
    create_exclusive(tmp_path / "a" / "b", b"content")
    assert (tmp_path / "a" / "b").read_bytes() == b"content"
    assert everything(tmp_path / "a") == ["b"]


def test_a_taken_name_is_refused(tmp_path: Path) -> None:
    create_exclusive(tmp_path / "f", b"first")
    with pytest.raises(AlreadyExistsError, match="f exists already"):
        create_exclusive(tmp_path / "f", b"second")
    assert (tmp_path / "f").read_bytes() == b"first"
    assert everything(tmp_path) == ["f"]


def test_threads_that_race_for_a_name_have_exactly_one_winner(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def race(i: int) -> bytes | None:
        content = bytes([i]) * 10_000
        barrier.wait()
        try:
            create_exclusive(tmp_path / "f", content)
        except AlreadyExistsError:
            return None
        return content

    with ThreadPoolExecutor(8) as pool:
        winners = [content for content in pool.map(race, range(8)) if content is not None]
    assert winners == [(tmp_path / "f").read_bytes()]
    assert everything(tmp_path) == ["f"]


@pytest.mark.slow
def test_processes_that_race_for_names_have_exactly_one_winner_each(tmp_path: Path, start: Callable[..., Process]) -> None:
    racers = {text: start("create", tmp_path, 40, text) for text in ("red", "green", "blue")}
    for racer in racers.values():
        racer.wait_for("ready")
    for racer in racers.values():
        racer.go()
    won = [(int(number), text) for text, racer in racers.items() for number in racer.lines()]
    assert sorted(number for number, _ in won) == list(range(40))
    assert all((tmp_path / str(number)).read_text() == text for number, text in won)
    assert len(everything(tmp_path)) == 40


def test_published_content_is_named_by_its_sha256(tmp_path: Path) -> None:
    with private_file(tmp_path) as partial:
        partial.write_bytes(b"content")
        digest, size = publish_by_content(partial, tmp_path / "to", ".bin")
    assert (digest, size) == (hashlib.sha256(b"content").hexdigest(), 7)
    assert (tmp_path / "to" / f"{digest}.bin").read_bytes() == b"content"


def test_content_published_twice_is_one_file(tmp_path: Path) -> None:
    for _ in range(2):
        with private_file(tmp_path) as partial:
            partial.write_bytes(b"content")
            publish_by_content(partial, tmp_path, ".bin")
    assert len(everything(tmp_path)) == 1


def test_sha256_file_is_the_digest_of_all_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5_000
    (tmp_path / "f").write_bytes(data)
    assert sha256_file(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no manifest at .*gone\.json"):
        read_json(tmp_path / "gone.json", "manifest")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"[]", b"7", b"null", b'{"a": 1} x', b"\0" * 20])
def test_what_is_no_json_object_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"manifest at .*bad\.json"):
        read_json(tmp_path / "bad.json", "manifest")


def test_json_nested_without_end_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b'{"a":' * 100_000)
    with pytest.raises(DamagedError, match=r"bad\.json"):
        read_json(tmp_path / "bad.json", "manifest")


@given(value=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON))
def test_json_comes_back_as_written(value: dict[str, Any]) -> None:
    assert json.loads(to_json(value)) == value


@given(value=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers()))
def test_json_bytes_do_not_depend_on_the_order_of_keys(value: dict[str, int]) -> None:
    assert to_json(value) == to_json(dict(reversed(value.items())))


def test_json_ends_with_a_newline_and_keeps_unicode_readable() -> None:
    assert to_json({"näme": 1}) == '{\n  "näme": 1\n}\n'.encode()


def test_names_are_listed_sorted_without_private_ones(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden", "C"):
        (tmp_path / name).touch()
    assert list_names(tmp_path) == ["C", "a", "b"]


def test_a_missing_folder_and_a_file_list_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    assert list_names(tmp_path / "gone") == []
    assert list_names(tmp_path / "f") == []


def test_free_bytes_of_a_folder_that_is_not_there_yet_are_those_of_its_disk(tmp_path: Path) -> None:
    free = free_bytes(tmp_path / "not" / "yet")
    assert 0 < free <= shutil.disk_usage(tmp_path).total
    assert abs(free - shutil.disk_usage(tmp_path).free) < 1 << 30
