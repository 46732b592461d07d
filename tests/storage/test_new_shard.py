"""A shard that is not finished gives its room back at once, and a full disk is that of its set."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest

from storage.errors import DiskFullError
from storage.files import FileEntry
from storage.new_shard import FOLDER, new_shard
from storage.shard import SHARD_FORMATS, shard_format
from storage.shard_layout import ShardLayout

LAYOUT = ShardLayout((1000,), "float32", "s" * 64)
ROWS = np.random.default_rng(0).random((100, 1000), np.float32)
DIGESTS = [bytes([i]) * 32 for i in range(100)]


@pytest.mark.parametrize("name", sorted(SHARD_FORMATS))
def test_what_was_given_up_takes_no_room_though_somebody_holds_it_open(tmp_path: Path, name: str) -> None:
    held: list[int] = []

    def give_up() -> None:
        with new_shard(tmp_path, shard_format(name), LAYOUT) as shard:
            shard.append(DIGESTS, ROWS)
            held.append(os.open(next((tmp_path / FOLDER).iterdir()), os.O_RDWR))
            os.write(held[0], b"x" * 100_000)  # formats differ in how much they have written by now
            raise RuntimeError

    with pytest.raises(RuntimeError):
        give_up()
    assert os.fstat(held[0]).st_size < 1000  # what a writer adds when it is thrown away
    os.close(held[0])
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_what_was_published_stays_whatever_comes_after(tmp_path: Path) -> None:
    published: list[FileEntry | None] = []

    def publish_and_fail() -> None:
        with new_shard(tmp_path, shard_format("parquet"), LAYOUT) as shard:
            shard.append(DIGESTS, ROWS)
            published.append(shard.publish())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        publish_and_fail()
    [entry] = published
    assert entry is not None
    assert (tmp_path / entry.path).stat().st_size == entry.bytes > 0


@pytest.mark.parametrize("name", sorted(SHARD_FORMATS))
def test_a_full_disk_names_the_set(tmp_path: Path, name: str) -> None:
    """A limit on the size of files stands in for the full disk."""

    def fill() -> None:
        with new_shard(tmp_path, shard_format(name), LAYOUT) as shard:
            shard.append(DIGESTS, ROWS)
            shard.publish()

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(DiskFullError, match=f"no room is left to write in {tmp_path} "):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
