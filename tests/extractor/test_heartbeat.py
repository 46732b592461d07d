from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import extractor.heartbeat
from extractor.heartbeat import Heartbeat
from storage.errors import RunCancelledError, RunError
from storage.files import read_json
from storage.runs import RunFolder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setattr(extractor.heartbeat, "BEAT_SECONDS", 0.01)
    return RunFolder(tmp_path, "run")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def no_progress(number: int) -> dict[str, Any]:
    return {}


def beats(folder: RunFolder) -> int:
    return int(read_json(folder.path / "heartbeat.json", "heartbeat")["beat"])


def test_it_beats_from_the_start_and_stops_at_the_end(folder: RunFolder) -> None:
    with Heartbeat([folder], lambda number: {"done": 3}) as heartbeat:
        heartbeat.start()
        assert beats(folder) >= 1
        wait_for(lambda: beats(folder) >= 3)
    last = beats(folder)
    time.sleep(0.05)
    assert beats(folder) == last
    assert read_json(folder.path / "heartbeat.json", "heartbeat")["done"] == 3
    assert not (folder.path / "end.json").exists()


def test_what_never_began_leaves_nothing(folder: RunFolder) -> None:
    with pytest.raises(RunError), Heartbeat([folder], no_progress):
        raise RunError("refused")
    assert not folder.path.exists()


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (RunError("too many"), "failed", "too many"),
        (OSError("disk"), "failed", "OSError: disk"),
        (KeyboardInterrupt(), "interrupted", "by Ctrl-C or a signal"),
        (RunCancelledError("asked to"), "cancelled", "by `permafrost runs cancel`"),
    ],
)
def test_the_end_is_recorded(folder: RunFolder, error: BaseException, state: str, message: str) -> None:
    heartbeat = Heartbeat([folder], no_progress)
    heartbeat.start()
    with pytest.raises(type(error)), heartbeat:
        raise error
    end = read_json(folder.path / "end.json", "end")
    assert (end["state"], end["message"]) == (state, message)


def test_a_disk_that_takes_nothing_keeps_the_end_from_no_other_set(folder: RunFolder, tmp_path: Path) -> None:
    full = RunFolder(tmp_path / "full", "run")
    heartbeat = Heartbeat([full, folder], no_progress)
    heartbeat.start()
    while not full.path.is_file():  # a beat in between makes the folder again
        shutil.rmtree(full.path, ignore_errors=True)
        with suppress(IsADirectoryError):
            full.path.write_text("in the way")
    with pytest.raises(RunError), heartbeat:
        raise RunError("no room")
    assert read_json(folder.path / "end.json", "end")["message"] == "no room"


def test_a_request_to_stop_is_heard(folder: RunFolder) -> None:
    def heard() -> bool:
        try:
            heartbeat.check()
        except RunCancelledError:
            return True
        return False

    with Heartbeat([folder], no_progress) as heartbeat:
        heartbeat.start()
        assert not heard()
        folder.request_cancel()
        wait_for(heard)


def test_a_beat_that_cannot_be_written_stops_neither_the_run_nor_the_beating(folder: RunFolder) -> None:
    with Heartbeat([folder], no_progress) as heartbeat:
        heartbeat.start()
        away = folder.path.rename(folder.path.with_name("away"))
        folder.path.write_text("in the way")
        time.sleep(0.05)
        folder.path.unlink()
        away.rename(folder.path)
        before = beats(folder)
        wait_for(lambda: beats(folder) > before)
