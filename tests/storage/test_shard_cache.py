"""Listed files of remote stores on this machine: checked, bounded, shared."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from scripts.s3_server import new_bucket
from storage import bucket
from storage.damage import damage_named
from storage.errors import DamagedError, DiskFullError, PermafrostError, UsageError
from storage.files import FileEntry, open_listed, write_atomic
from storage.names import parse_root
from storage.place import Place, RemotePlace
from storage.shard_cache import cache_folder, forget

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folder(server: str) -> Place:
    return new_bucket(server)


def put(folder: Place, content: bytes) -> FileEntry:
    digest = sha256(content).hexdigest()
    entry = FileEntry(f"shards/{digest}.parquet", digest, len(content), 1)
    write_atomic(folder / entry.path, content)
    return entry


def held() -> set[str]:
    return {path.stem for path in cache_folder().glob("*/*.parquet")}


def used_at(entry: FileEntry, seconds: float) -> None:
    """As if it had been used then."""
    [path] = cache_folder().glob(f"*/{entry.sha256}.parquet")
    os.utime(path, (seconds, seconds))


def test_a_file_is_fetched_once(folder: Place) -> None:
    entry = put(folder, b"content")
    assert open_listed(folder, entry, Path.read_bytes) == b"content"
    write_atomic(folder / entry.path, b"replaced")
    assert open_listed(folder, entry, Path.read_bytes) == b"content"
    assert held() == {entry.sha256}


def test_another_content_than_the_listed_one_does_not_enter(folder: Place) -> None:
    entry = put(folder, b"content")
    write_atomic(folder / entry.path, b"kontent")
    with pytest.raises(DamagedError, match="sha256"):
        open_listed(folder, entry, Path.read_bytes)
    assert held() == set()


def test_a_file_cut_off_in_the_cache_is_fetched_again(folder: Place) -> None:
    entry = put(folder, b"content")
    open_listed(folder, entry, Path.read_bytes)
    [path] = cache_folder().glob("*/*.parquet")
    os.truncate(path, 3)
    assert open_listed(folder, entry, Path.read_bytes) == b"content"


def test_a_full_cache_is_no_damage_of_the_set(folder: Place) -> None:
    entry = put(folder, bytes(2000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with (
            pytest.raises(DiskFullError, match=r"no room is left to write in the cache .*: set PERMAFROST_CACHE"),
            damage_named("x", "shard"),
        ):
            open_listed(folder, entry, Path.read_bytes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(open_listed(folder, entry, Path.read_bytes)) == 2000


def test_a_cache_that_cannot_be_written_is_told(folder: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PERMAFROST_CACHE", str(tmp_path / "file"))
    with pytest.raises(PermafrostError, match=r"file cannot be written .*: set PERMAFROST_CACHE"), damage_named("x", "shard"):
        open_listed(folder, put(folder, b"content"), Path.read_bytes)


def test_a_store_that_cannot_be_reached_is_not_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "RETRIES", {"max_retries": 0})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    place = parse_root("s3://unreachable/store")
    with pytest.raises(ConnectionError, match="s3://unreachable cannot be reached"), damage_named("x", "shard"):
        open_listed(place, FileEntry("shards/x.parquet", "x", 1, 1), Path.read_bytes)


def test_a_file_that_the_store_has_not_is_missing(folder: Place) -> None:
    with pytest.raises(FileNotFoundError):
        open_listed(folder, FileEntry("shards/x.parquet", "x", 1, 1), Path.read_bytes)


def test_what_was_used_last_stays(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERMAFROST_CACHE_BYTES", "250")
    first, second, third = (put(folder, bytes([i]) * 100) for i in range(3))
    for number, entry in enumerate((first, second)):
        open_listed(folder, entry, Path.read_bytes)
        used_at(entry, 1000 + number)
    open_listed(folder, first, Path.read_bytes)  # used again
    open_listed(folder, third, Path.read_bytes)
    assert held() == {first.sha256, third.sha256}


def test_a_file_larger_than_the_bound_is_read_all_the_same(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERMAFROST_CACHE_BYTES", "10")
    entry = put(folder, b"x" * 100)
    assert open_listed(folder, entry, Path.read_bytes) == b"x" * 100


def test_a_file_that_another_process_evicts_is_fetched_again(folder: Place) -> None:
    entry, tries = put(folder, b"content"), []
    open_listed(folder, entry, Path.read_bytes)

    def opener(path: Path) -> bytes:
        tries.append(path)
        if len(tries) == 1:
            path.unlink()
        return path.read_bytes()

    assert open_listed(folder, entry, opener) == b"content"


def test_a_cache_that_another_process_clears_is_filled_again(folder: Place) -> None:
    """At any moment: while a file is fetched, or right before it is opened."""
    entry, tries = put(folder, b"content"), []

    def opener(path: Path) -> bytes:
        tries.append(path)
        if len(tries) < 5:
            shutil.rmtree(cache_folder())
        content = path.read_bytes()
        if len(tries) == 5:
            shutil.rmtree(cache_folder())
        return content

    with damage_named("x", "shard"):
        assert open_listed(folder, entry, opener) == b"content"
        assert open_listed(folder, entry, Path.read_bytes) == b"content"


def test_many_processes_read_while_one_clears_the_cache(folder: Place) -> None:
    entries = [put(folder, bytes([i]) * 1000) for i in range(8)]
    over = threading.Event()

    def clear() -> None:
        while not over.is_set():
            shutil.rmtree(cache_folder(), ignore_errors=True)
            time.sleep(0.01)  # without a pause nothing can be kept, which is told in words

    with ThreadPoolExecutor(4) as pool:
        clearing = pool.submit(clear)
        try:
            with damage_named("x", "shard"):
                read = [pool.submit(open_listed, folder, entry, Path.read_bytes) for entry in entries * 5]
                lengths = [len(each.result()) for each in read]
        finally:
            over.set()  # or the pool would wait for ever
        clearing.result()
    assert lengths == [1000] * 40


@pytest.mark.parametrize("cache", ["/proc/no", "/dev/null/no"])
def test_a_cache_that_cannot_be_made_is_no_damage_of_the_set(folder: Place, monkeypatch: pytest.MonkeyPatch, cache: str) -> None:
    entry = put(folder, b"content")
    monkeypatch.setenv("PERMAFROST_CACHE", cache)
    with damage_named("x", "shard"), pytest.raises(PermafrostError, match=rf"the cache {cache} cannot be .*set PERMAFROST_CACHE") as told:
        open_listed(folder, entry, Path.read_bytes)
    assert not isinstance(told.value, DamagedError)


@pytest.mark.slow
def test_many_threads_read_through_a_cache_that_holds_two(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERMAFROST_CACHE_BYTES", "2000")
    contents = [bytes([i]) * 1000 for i in range(12)]
    entries = [put(folder, content) for content in contents]

    def read_all(start: int) -> bool:
        order = [*range(start, 12), *range(start)]
        return all(open_listed(folder, entries[i], Path.read_bytes) == contents[i] for i in order)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read_all, range(0, 12, 2)))
    assert len(held()) <= 3


@pytest.mark.slow
def test_several_processes_share_it(folder: Place) -> None:
    assert isinstance(folder, RemotePlace)
    entries = [put(folder, bytes([i]) * 100_000) for i in range(20)]
    program = (
        "import sys; from pathlib import Path; from storage.files import FileEntry, open_listed; from storage.names import parse_root\n"
        "for line in sys.stdin.read().split():\n"
        "    entry = FileEntry(f'shards/{line}.parquet', line, 100000, 1)\n"
        "    assert len(open_listed(parse_root(sys.argv[1]), entry, Path.read_bytes)) == 100000\n"
    )
    names = "\n".join(entry.sha256 for entry in entries)
    environment = {**os.environ, "PERMAFROST_CACHE_BYTES": "500000"}
    command = [sys.executable, "-c", program, str(folder)]
    readers = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    for reader in readers:
        reader.communicate(names, timeout=100)
    assert [reader.returncode for reader in readers] == [0, 0, 0]


def test_what_is_forgotten_is_gone(folder: Place) -> None:
    entry = put(folder, b"content")
    open_listed(folder, entry, Path.read_bytes)
    assert forget(entry.sha256)
    assert not forget(entry.sha256)
    assert held() == set()


def test_a_bound_that_is_no_number_is_refused(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERMAFROST_CACHE_BYTES", "10 GB")
    with pytest.raises(UsageError, match="number of bytes"):
        open_listed(folder, put(folder, b"x"), Path.read_bytes)
