from __future__ import annotations

from pathlib import Path

import pytest

from storage.bucket import Bucket
from storage.cache_room import tell_of_small_cache
from storage.errors import UsageError
from storage.files import FileEntry
from storage.place import Place, RemotePlace


def entry(size: int) -> FileEntry:
    return FileEntry("shards/x.parquet", "0" * 64, size, 1)


@pytest.mark.parametrize(
    ("place", "size", "told"),
    [
        (RemotePlace(Bucket("s3://features"), "a/one"), 4096, True),
        (RemotePlace(Bucket("s3://features"), "a/two"), 1024, False),
        (Path("features/a/three"), 4096, False),
    ],
)
def test_shards_that_exceed_the_cache_are_told_of_once(
    place: Place, size: int, told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PERMAFROST_CACHE_BYTES", "2048")
    for _ in range(3):
        tell_of_small_cache(place, [entry(size), entry(1024)], [entry(100)])
    assert len(caplog.messages) == told
    if told:
        assert "take 5.0 KiB, and the cache of this machine holds 2.0 KiB" in caplog.text
        assert "Set PERMAFROST_CACHE_BYTES to 5220 or more, or copy the set to a disk with `permafrost store copy`" in caplog.text


def test_a_bound_that_is_no_number_is_told_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERMAFROST_CACHE_BYTES", "much")
    with pytest.raises(UsageError, match="number of bytes"):
        tell_of_small_cache(RemotePlace(Bucket("s3://features"), "a/four"), [entry(1)], [])
