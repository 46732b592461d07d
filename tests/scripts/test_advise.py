"""`permafrost advise` from end to end; its parts are tested in tests/trainer/test_advise.py and beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

import trainer
from scripts.advice_tables import _more_labels
from tests.scripts.conftest import Said
from tests.trainer.conftest import Row, write_set_to
from trainer.advise import Advised
from trainer.learning_curve import LearningCurve

if TYPE_CHECKING:
    from trainer.advice_evidence import Evidence


def made_rows() -> list[Row]:
    random = np.random.default_rng(0)
    centres = random.normal(0, 3, (3, 8))
    return [
        Row(f"{label}/{i:03d}.jpg", (centres[c] + random.normal(0, 0.5, 8)).astype(np.float32), label)
        for c, label in enumerate(("coat", "hat", "shoe"))
        for i in range(16)
    ]


@pytest.mark.slow
def test_the_best_of_all_sets_of_the_corpus_is_told_with_its_evidence(say: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, random, kept = made_rows(), np.random.default_rng(0), list[Advised]()
    noise = write_set_to(f"{tmp_path}/store/team/noise", [replace(row, embedding=random.normal(size=8).astype(np.float32)) for row in rows])
    good = write_set_to(f"{tmp_path}/store/team/good", rows[2:])

    def advise(*args: Any) -> Advised:
        kept.append(original(*args))
        return kept[0]

    original = trainer.advise
    monkeypatch.setattr(trainer, "advise", advise)
    for limit, value in {"advice_pool.FOLDS": 2, "advice_evidence.LAYERED_EPOCHS": 2}.items():
        monkeypatch.setattr(f"trainer.{limit}", value)
    code, out, err = say("advise", noise, "--all", "--test", 0.1)
    assert code == 0
    assert out.startswith("advice   feature-extraction\nbecause  ")
    assert "labels in all, under 50, are too few to tell" in out
    assert "note: 2 items are not in all of the sets" in err or "note: 1 items are not in all of the sets" in err
    for said in ("ridge behind the first", "would more labels help?", "near-duplicates", "cannot know"):
        assert said in out
    assert "would more capacity help? unknown: a hidden layer brings" in out
    assert f"and {len(kept[0].evidence.pool)} items, under 50, are too few to tell" in out
    found = json.loads(json.dumps(kept[0].to_dict()))
    best, worst = found["ranking"]
    assert (best["set"], worst["set"]) == (good, noise)
    assert best["behind_first"] is None
    assert worst["behind_first"]["accuracy_difference_interval"][1] < 0
    assert best["logme"] > worst["logme"]
    assert best["h_score"] > worst["h_score"]
    evidence = found["evidence"]
    assert evidence["items"] == sum(evidence["classes"].values())
    assert evidence["learning_curve"]["accuracy"][-1] == evidence["heads"]["ridge"]["accuracy"] == 1.0
    assert evidence["capacity"]["memorised"] == 1.0
    assert evidence["capacity"]["more_helps"] == evidence["learning_curve"]["more_helps"] == "unknown"
    assert evidence["near_duplicates"]["test"]["same_image"] == 0


@pytest.mark.parametrize(
    ("sizes", "step"),
    [
        ((240.0, 480.0), "the last doubling"),
        ((22.4, 45.2), "the last doubling"),
        ((21.2, 30.8), "going from 21 to 31 labels"),
        ((10.0, 40.0), "going from 10 to 40 labels"),
    ],
)
def test_a_doubling_is_said_of_labels_that_doubled(sizes: tuple[float, ...], step: str) -> None:
    right = np.arange(100) < np.array([[60], [70]])
    evidence = cast("Evidence", SimpleNamespace(curve=LearningCurve(sizes, right), more_labels="yes"))
    assert _more_labels(evidence).startswith(f"yes: {step} brought +0.100 (")


def test_wrong_use_is_told_before_anything_is_read(say: Said, tmp_path: Path) -> None:
    uri = write_set_to(f"{tmp_path}/store/team/set", made_rows())
    assert say("advise", uri, "--most", 3)[::2] == (
        2,
        "permafrost: --most must be 20 at least, got 3: of fewer items nothing can be said\n",
    )
    code, _, err = say("advise", uri, f"{tmp_path}/store/team/other")
    assert code == 1
    assert "no feature set team/other" in err
    code, _, err = say("advise", uri, "--labels", "missing.csv")
    assert (code, "no such label file: missing.csv" in err) == (1, True)
    (tmp_path / "many.jsonl").write_text('{"key": "coat/000.jpg", "label": ["a", "b"]}\n{"key": "coat/001.jpg", "label": ["b"]}\n')
    code, _, err = say("advise", uri, "--labels", "many.jsonl")
    assert (code, "pass --multi-label for items" in err) == (2, True)
    code, _, err = say("advise", uri, "--labels", "many.jsonl", "--multi-label")
    assert (code, "advice is about items of one class each" in err) == (2, True)
