from __future__ import annotations

import argparse

import pytest

from scripts import console
from scripts.console import progress, share
from storage.errors import UsageError


def test_what_was_done_before_is_no_part_of_the_rate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with progress("epochs", "reading") as show:
        show(900, 1000)
        now += 10
        show(920, 1000)
        now += 40
        show(1000, 1000)
    assert capsys.readouterr().err.splitlines() == ["epochs: reading", "epochs: 920 of 1000, 2/s, 40 s left", "epochs: 1000 of 1000, 2/s"]


def test_all_at_once_has_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("copying", "comparing") as show:
        show(7, 7)
    assert capsys.readouterr().err.splitlines() == ["copying: comparing", "copying: 7 of 7"]


def test_what_is_refused_before_the_work_is_all_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError), progress("folds", first=None):
        raise UsageError("too many")
    assert capsys.readouterr().err == ""
    with progress("folds", first=None) as show:
        show(0, 3)
        show(1, 3)
        show(3, 3)
    told = capsys.readouterr().err.splitlines()
    assert (told[0], told[-1].startswith("folds: 3 of 3")) == ("folds: 0 of 3", True)
    with progress("steps", first=None) as show:
        show.begin("reading images")
        show(3, 3)
    assert capsys.readouterr().err.splitlines() == ["steps: reading images", "steps: 3 of 3"]


def test_slow_work_is_told_by_the_minute(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with progress("steps", "reading") as show:
        show(0, 40)
        now += 40
        show(10, 40)
    assert capsys.readouterr().err.splitlines()[-1] == "steps: 10 of 40, 15/min, 120 s left"


@pytest.mark.parametrize(("text", "value"), [("1%", 0.01), ("0.5", 0.5), ("0", 0), ("100%", 1), ("1", 1)])
def test_a_share_is_of_a_whole(text: str, value: float) -> None:
    assert share(text) == value


@pytest.mark.parametrize("text", ["-1", "-1%", "nan", "nan%", "500%", "100.1%", "5", "inf", "", "%", "1%%", "some"])
def test_no_share_is_less_than_nothing_or_more_than_all(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a share from 0% to 100%"):
        share(text)
