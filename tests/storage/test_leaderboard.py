from __future__ import annotations

from pathlib import Path

import pytest

from storage.leaderboard import leaderboards
from tests.storage.kept_heads import put_head, put_heads


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return put_heads(tmp_path)


def test_heads_are_ranked_among_those_with_the_same_test_items_alone(root: Path) -> None:
    boards = leaderboards(root)
    assert [[each.name for each in board.standings] for board in boards] == [["me/better", "me/good"], ["you/other-items"], ["you/older"]]
    assert boards[-1].tested is None
    best = boards[0].standings[0]
    assert (best.set, best.version, best.kind, best.backbone, best.interval) == ("you/photos", 2, "linear", "resnet50", (0.8, 1.0))


def test_those_of_one_set_or_one_label_file(root: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("key,label")
    assert {each.name for board in leaderboards(root, labels=labels) for each in board.standings} == {
        "me/good",
        "you/other-items",
        "you/older",
    }
    assert [each.name for board in leaderboards(root, "you/photos") for each in board.standings] == ["me/better"]


def test_map_is_the_measure_of_several_labels(tmp_path: Path) -> None:
    put_head(tmp_path, "me/tags", 0.5, metrics={"test": {"rows": 9, "mean_average_precision": 0.7}})
    found = leaderboards(tmp_path)[0].standings[0]
    assert (found.measure, found.score, found.interval) == ("mean_average_precision", 0.7, None)
