"""The campaign of killed writers, short; `python -m scripts.campaign_writers` is the full one (docs/reliability.md keeps its last run)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.campaign_writers import Report, campaign, wrong_step, wrong_with
from scripts.made_set import MadeSet, made_space, new_set
from scripts.set_writer import SHARED, added, picture_of
from storage.commit import commit
from storage.names import SetName
from storage.versions import read_manifest, version_path


@pytest.mark.slow
def test_writers_that_are_killed_lose_nothing_that_they_reported() -> None:
    outcomes = list(campaign("disk", rounds=2, writers=6, seed=3, seconds=0.8))
    assert [outcome.problems for outcome in outcomes] == [[], []]
    assert [outcome.shared for outcome in outcomes] == [False, True]


@pytest.fixture
def made(tmp_path: Path) -> MadeSet:
    """Three versions of a shared corpus."""
    made = new_set(SetName(tmp_path, "team", "set"), made_space(), "parquet")
    base = None
    for serial in range(3):
        pictures = {key: picture_of(key) for key in (f"{serial}/0", f"{serial}/1")}
        commit(made.name, base.manifest if base else None, added(made, base, pictures), SHARED)
        base = made.open()
    return made


def test_the_campaign_sees_what_is_lost_or_there_twice(made: MadeSet) -> None:
    first, second, third = (read_manifest(made.folder, version) for version in (1, 2, 3))
    assert wrong_with(made, [Report(1, first.nonce), Report(3, third.nonce)]) == []
    assert wrong_with(made, [Report(2, first.nonce)]) == ["1 reported versions are lost, such as 2"]
    assert wrong_step(first, third) == "version 3 has 6 rows, after 2"
    assert wrong_step(second, replace(second, version=3)) == "version 3 changes 0 corpora, of 1 before and 1 now"
    keys = {"0/0": 7}
    commit(made.name, third, made.draft(SHARED, keys), SHARED)
    found = wrong_with(made, [])
    assert found == ["version 4 has 1 rows, after 6", "version 4 has other embeddings than were written"]
    version_path(made.folder, 2).unlink()
    assert wrong_with(made, []) == ["versions with gaps: [1, 3, 4]"]
