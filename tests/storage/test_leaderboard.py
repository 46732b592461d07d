from __future__ import annotations

import hashlib
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


def test_heads_of_the_same_label_set_are_of_one_label_file(root: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("key,label,split")
    told = {"source": "labels.csv", "sha256": hashlib.sha256(b"key,label,split").hexdigest()}
    put_head(root, "one/this-file", 0.7, tested="e" * 64, labels=told, label_set_sha256="f" * 64)
    put_head(root, "one/other-file", 0.6, tested="e" * 64, labels={"source": "x.csv", "sha256": "d" * 64}, label_set_sha256="f" * 64)
    assert [[each.name for each in board.standings] for board in leaderboards(root, labels=labels).boards if board.tested == "e" * 64] == [
        ["one/this-file", "one/other-file"]
    ]
    labels.write_text("key,label,split\n")
    assert leaderboards(root, labels=labels).boards == ()
    (board,) = leaderboards(root, labels=labels, label_sets=["f" * 64]).boards
    assert [each.name for each in board.standings] == ["one/this-file", "one/other-file"]


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


def test_a_head_without_its_model_is_named_and_not_ranked(root: Path) -> None:
    (root / "heads" / "me" / "better" / "head.keras").unlink()
    found = leaderboards(root)
    assert [each.name for each in found.boards[0].standings] == ["me/good"]
    assert "heads/me/better/head.keras is not there, beside head.json" in found.damaged["me/better"]
