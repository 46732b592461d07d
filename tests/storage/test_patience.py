from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from storage.errors import DiskFullError
from storage.files import list_names, private_file, publish_by_content
from storage.patience import FULL, PASSING, full_disk_told, patient
from storage.runs import RunFolder


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.patience.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("storage.patience.PATIENCE_SECONDS", 0.2)


class FailingStorage:
    """A system call that fails the first times, as that of a file server that starts again, and then does its work."""

    def __init__(self, call: Callable[..., Any], number: int, times: int) -> None:
        self._call, self._number, self.times = call, number, times

    def __call__(self, *args: Any) -> Any:
        self.times -= 1
        if self.times >= 0:
            raise OSError(self._number, os.strerror(self._number))
        return self._call(*args)


@pytest.mark.parametrize("number", sorted(PASSING))
def test_a_shard_and_a_receipt_survive_storage_that_fails_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr("storage.patience.PATIENCE_SECONDS", 10.0)  # a busy machine may take 0.2 s for three tries
    monkeypatch.setattr("storage.files.os.replace", replace := FailingStorage(os.replace, number, 3))
    with private_file(tmp_path) as partial:
        partial.write_bytes(b"shard")
        digest, _ = publish_by_content(partial, tmp_path, ".bin")
    assert (tmp_path / f"{digest}.bin").read_bytes() == b"shard"
    replace.times = 3
    RunFolder(tmp_path, "run").write_receipt("000000", pa.table({"a": [1]}))
    table = RunFolder(tmp_path, "run").read_receipt("000000")
    assert table is not None
    assert table.to_pydict() == {"a": [1]}


def test_patience_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.files.os.replace", FailingStorage(os.replace, errno.ESTALE, 10**6))
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        RunFolder(tmp_path, "run").write_receipt("000000", pa.table({"a": [1]}))


def test_a_rename_whose_answer_was_lost_has_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, lost = os.replace, []

    def replace(source: Path, target: Path) -> None:
        whole(source, target)
        if not lost:
            lost.append(target)
            raise OSError(errno.ETIMEDOUT, "timed out")

    monkeypatch.setattr("storage.files.os.replace", replace)
    with private_file(tmp_path) as partial:
        partial.write_bytes(b"shard")
        digest, _ = publish_by_content(partial, tmp_path, ".bin")
    assert lost == [tmp_path / f"{digest}.bin"]
    assert lost[0].exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, *FULL])
def test_what_does_not_pass_is_not_tried_again(number: int) -> None:
    action = FailingStorage(lambda: None, number, 1)
    with pytest.raises(OSError, match=os.strerror(number)):
        patient(action)()
    assert action.times == 0


def test_content_whose_sync_failed_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second sync would succeed, but the pages are gone."""
    monkeypatch.setattr("storage.files.os.fsync", FailingStorage(os.fsync, errno.EIO, 1))
    with private_file(tmp_path) as partial:
        partial.write_bytes(b"shard")
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            publish_by_content(partial, tmp_path, ".bin")
    assert list_names(tmp_path) == []


@pytest.mark.parametrize("number", sorted(FULL))
def test_a_full_disk_is_told_by_name(number: int) -> None:
    with pytest.raises(DiskFullError, match="no room is left to write in the store"), full_disk_told("the store"):
        raise OSError(number, os.strerror(number))
