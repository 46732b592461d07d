from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.leaderboard import leaderboards
from storage.sealed import seal
from tests.storage.kept_heads import put_head, put_heads


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return put_heads(tmp_path)


def test_heads_are_ranked_among_those_with_the_same_test_items_alone(root: Path) -> None:
    boards = leaderboards(root).boards
    assert [[each.name for each in board.standings] for board in boards] == [["me/better", "me/good"], ["you/other-items"], ["you/older"]]
    assert boards[-1].tested is None
    best = boards[0].standings[0]
    assert (best.set, best.version, best.kind, best.backbone, best.interval) == ("you/photos", 2, "linear", "resnet50", (0.8, 1.0))


def test_those_of_one_set_or_one_label_file(root: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("key,label")
    assert {each.name for board in leaderboards(root, labels=labels).boards for each in board.standings} == {
        "me/good",
        "you/other-items",
        "you/older",
    }
    assert [each.name for board in leaderboards(root, "you/photos").boards for each in board.standings] == ["me/better"]


def test_map_is_the_measure_of_several_labels(tmp_path: Path) -> None:
    put_head(tmp_path, "me/tags", 0.5, metrics={"test": {"rows": 9, "mean_average_precision": 0.7}})
    found = leaderboards(tmp_path).boards[0].standings[0]
    assert (found.measure, found.score, found.interval) == ("mean_average_precision", 0.7, None)


def test_a_damaged_head_is_named_and_not_ranked(root: Path) -> None:
    assert leaderboards(root).damaged == {}
    sealed = root / "heads" / "me" / "good" / "head.json"
    sealed.write_bytes(seal(json.loads(sealed.read_text())).replace(b"0.8", b"0.9"))
    (root / "heads" / "me" / "better" / "head.json").write_text("{")
    put_head(root, "you/odd", 0.7, backbone="resnet50")
    found = leaderboards(root)
    assert [each.name for board in found.boards for each in board.standings] == ["you/other-items", "you/older"]
    assert set(found.damaged) == {"me/good", "me/better", "you/odd"}
    assert "its checksum is not that of its content" in found.damaged["me/good"]
