"""`permafrost sweep` as a user gives it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.scripts.conftest import Said
from tests.trainer.conftest import Row, write_set_to

FEW = ["--max-epochs", "2", "--seeds", "2", "--batch-size", "64"]


@pytest.fixture(scope="module")
def a_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    """60 items of two classes, given to splits, so that `evaluate --split` knows them."""
    random, splits = np.random.default_rng(0), ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    rows = [
        Row(f"{name}/{i:03d}.jpg", (random.normal(centre, 1, 8)).astype(np.float32), name, splits[i % 10])
        for name, centre in (("hat", 0), ("shoe", 1))
        for i in range(30)
    ]
    return write_set_to(f"{tmp_path_factory.mktemp('store')}/team/set", rows)


@pytest.mark.slow
def test_a_sweep_leaves_a_head_and_what_it_tried(a_set: str, tmp_path: Path, say: Said) -> None:
    grid = ["--head", "linear,mlp", "--grid", "c=0.1,10", "--grid", "hidden=4"]
    code, printed, _ = say("sweep", a_set, "--out", "head", *grid, *FEW, "--report", "page.html")
    assert code == 0
    assert "4 candidates" in printed
    assert "validation accuracy" in printed
    assert sorted(path.name for path in (tmp_path / "head").iterdir()) == ["head.json", "head.keras", "sweep.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head", "page.html"], "the state is gone"
    assert "Sweep: 4 candidates" in (tmp_path / "page.html").read_text()
    tried = json.loads((tmp_path / "head/sweep.json").read_text())
    assert len(tried["candidates"]) == 4
    head = json.loads((tmp_path / "head/head.json").read_text())
    assert head["options"]["c"] == tried["candidates"][0]["options"]["c"]
    code, printed, _ = say("evaluate", "head", a_set, "--split", "test", "--json")
    assert code == 0
    assert json.loads(printed)["metrics"]["accuracy"] == tried["test"]["accuracy"]


@pytest.mark.slow
def test_a_budget_draws_from_ranges(a_set: str, say: Said) -> None:
    code, printed, _ = say("sweep", a_set, "--out", "head", "--budget", 3, "--range", "c=0.1:10", *FEW, "--json")
    said = json.loads(printed)
    assert (code, [rung["candidates"] for rung in said["rungs"]]) == (0, [3])
    assert all(0.1 <= candidate["options"]["c"] <= 10 for candidate in said["candidates"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "size=1"], "expected one of c, alpha, learning_rate, dropout, "),
        (["--grid", "c=a"], "expected values of c such as c=0.01,0.1, got 'c=a'"),
        (["--train-last", "a"], "argument --train-last: expected values such as 0,10,20, got 'a'"),
        (["--mixup", "0:b"], "argument --mixup: expected values such as 0.01,0.1, or a range such as 0.01:0.1, got '0:b'"),
        (["--range", "c=1"], "expected a range such as c=0.0001:10, got 'c=1'"),
        (["--range", "c=0.1:1"], "say with a budget how many"),
        (["--grid", "c=1", "--grid", "c=2"], "c is given twice"),
        (
            ["--train-last", "0,3"],
            "heads that train together have no train_last: leave it out, use `train`, or sweep with --strategy hybrid",
        ),
        (["--weights", "w.h5"], "--weights is about --strategy hybrid"),
        (["--c", "1", "--grid", "c=2"], "c is given twice"),
        (["--head", "forest"], "the head 'forest' cannot be swept: expected one of linear, mlp, logistic, ridge"),
    ],
)
def test_what_makes_no_sense_is_told(a_set: str, arguments: list[str], message: str, say: Said) -> None:
    code, _, told = say("sweep", a_set, "--out", "head", *arguments)
    assert code == 2
    assert message in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "--grid", "c=0"], "c must be"),
        (["sweep", "--head", "mlp", "--grid", "hidden=0"], "hidden must be"),
        (["train", "--folds", "1"], "folds must be a whole number from 2"),
    ],
)
def test_a_value_out_of_range_is_refused_before_anything_is_read(a_set: str, words: list[str], message: str, say: Said) -> None:
    code, _, err = say(words[0], a_set, *words[1:], "--out", "head")
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


def test_labels_that_fit_nothing_are_all_that_is_said(a_set: str, tmp_path: Path, say: Said) -> None:
    (tmp_path / "labels.csv").write_text("key,label\nnowhere.jpg,a\n")
    code, _, err = say("sweep", a_set, "--labels", "labels.csv", "--out", "head")
    assert (code, err.count("\n")) == (2, 1)
    assert "none of the 1 labels in labels.csv fits any of the 60 items" in err
