"""The campaign of flipped bits, short; `python -m scripts.campaign_flips` is the full one, and docs/reliability.md keeps its last run."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.campaign_flips import blamed, campaign, kind_of
from scripts.damaged_sets import files_of, fill_with_every_kind
from scripts.made_set import MadeSet, made_space, new_set
from storage.names import SetName

KINDS = {
    *(
        "permafrost.json",
        "catalog.json",
        "set.json",
        "README.md",
        "hint.json",
        "absent",
        "versions",
        "tags",
        "golden",
        "items",
        "rejects",
        "shards",
    ),
    *(f"runs: {name}" for name in ("plan.json", "heartbeat.json", "cancel.json", "end.json", "report.json", "report.html", "receipts")),
    *(f"takedowns: {name}" for name in ("tombstone", "record", "receipt")),
}


@pytest.fixture
def made(tmp_path: Path) -> MadeSet:
    return fill_with_every_kind(new_set(SetName(tmp_path, "team", "set"), made_space(), "hdf5"))


@pytest.mark.slow
def test_flipped_bits_in_every_kind_of_file_are_found(made: MadeSet) -> None:
    assert {kind_of(path, made) for path in files_of(made)} == KINDS
    outcome = campaign(made, flips=66, seed=3)
    assert outcome.problems == []
    assert sum(outcome.flips.values()) == 66


def test_the_campaign_sees_what_is_not_found(made: MadeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a page of somebody's own, which nobody verifies."""
    (made.folder / "README.md").write_text("mine")
    monkeypatch.setattr("scripts.campaign_flips.files_of", lambda _: [made.folder / "README.md"])
    [problem] = campaign(made, flips=1, seed=3).problems
    assert problem.endswith("README.md: found []")
    (made.folder / "set.json").write_bytes(b"x")
    assert blamed(made) == [made.folder / "set.json"]
    assert "the set is damaged before the first flip" in campaign(made, flips=0, seed=3).problems
