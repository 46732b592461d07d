"""The campaign of versions that leave and come, short; `python -m scripts.campaign_leaving` is the full one (docs/reliability.md)."""

from __future__ import annotations

import pytest

from scripts import campaign_leaving
from scripts.campaign_leaving import campaign, main

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("place", "processes", "times"), [("disk", 4, 12), ("s3", 3, 3)])
def test_processes_that_expire_and_copy_at_once_lose_no_entry(
    place: str, processes: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERMAFROST_CACHE", "")  # put back at the end
    assert list(campaign(place, 1, processes, times, seed=3)) == [[]]


def test_a_round_with_problems_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign_leaving, "TIMES", 1)
    monkeypatch.setattr(campaign_leaving, "PROCESSES", 1)
    monkeypatch.setattr(campaign_leaving, "absent_versions", lambda _: set())
    assert main(["--rounds", "1"]) == 1
    assert "of version 1 nobody knows" in capsys.readouterr().out
