"""What fewer bits cost a head: on sets that are written as a run would leave them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import storage
from extractor.weighed import Weighed
from scripts.precision_head import LEAST, PrecisionHead, label_rows
from tests.conftest import draw
from tests.scripts.conftest import SMALL_START, Said
from tests.trainer.conftest import Row, _separable_rows, write_set_to

COUNT = 30


def weighed_of(rows: list[Row], error: float = 0.0) -> Weighed:
    """Every third image, its float32 embedding beside the stored one by so much."""
    chosen, random = rows[::3], np.random.default_rng(1)
    fine = np.stack([row.embedding for row in chosen]) + error * random.normal(size=(len(chosen), 8))
    return Weighed({}, tuple(row.digest for row in chosen), fine.astype(np.float32))


def ask(rows: list[Row], weighed: Weighed, folder: Path) -> dict[str, Any]:
    return PrecisionHead(on_gpu=True)(write_set_to(f"{folder}/team/set", rows), weighed)


@pytest.mark.slow
def test_both_precisions_are_asked_the_same_images_and_none_was_learned_from(tmp_path: Path) -> None:
    rows = _separable_rows(COUNT)
    found = ask(rows, weighed_of(rows), tmp_path)
    assert (found["head"], found["rows"], found["trained_on"]) == ("logistic", COUNT, 2 * COUNT)
    assert found["accuracy"] == found["accuracy_float32"] > 0.95
    assert (found["difference"], found["difference_interval"]) == (0.0, [0.0, 0.0])


@pytest.mark.slow
def test_a_precision_that_costs_accuracy_is_seen_with_its_interval(tmp_path: Path) -> None:
    rows = _separable_rows(COUNT)
    found = ask(rows, weighed_of(rows, error=20.0), tmp_path)
    low, high = found["difference_interval"]
    assert found["difference"] == pytest.approx(found["accuracy"] - found["accuracy_float32"], abs=2e-4)
    assert 0 < low < found["difference"] < high


@pytest.mark.parametrize("left", [LEAST - 1, 0])
def test_too_few_labels_are_told(tmp_path: Path, left: int) -> None:
    rows = [row if i < 3 * left else replace(row, label=None) for i, row in enumerate(_separable_rows(COUNT))]
    found = ask(rows, weighed_of(rows), tmp_path)
    assert set(found) == {"left_out"}
    assert found["left_out"].startswith(f"{left} of the images have a label" if left else "the items carry no labels")


def test_what_cannot_be_fitted_is_told_and_fails_no_run(tmp_path: Path) -> None:
    rows = [replace(row, label="one") for row in _separable_rows(COUNT)]
    assert "a head needs at least two classes" in ask(rows, weighed_of(rows), tmp_path)["left_out"]


def test_copies_of_a_weighed_image_are_not_learned_from_nor_asked_twice(tmp_path: Path) -> None:
    rows = _separable_rows(COUNT)
    copies = [replace(row, key=f"x{row.key}", image=row.key, label="other") for row in rows[::3]]
    of_set = storage.open(write_set_to(f"{tmp_path}/team/set", [*rows, *copies]))
    found = label_rows(of_set, weighed_of(rows).digests).to_pylist()
    assert len({row["digest"] for row in found}) == len(found) == len(rows)
    assert {row["digest"] for row in found if row["split"] == "test"} == set(weighed_of(rows).digests)
    assert "other" not in {row["label"] for row in found}


@pytest.mark.slow
def test_an_image_with_copies_is_one_question(tmp_path: Path) -> None:
    rows = _separable_rows(COUNT)
    copies = [replace(row, key=f"{copy} of {row.key}", image=row.key) for row in rows for copy in range(3)]
    found = ask([*rows, *copies], weighed_of(rows), tmp_path)
    assert (found["rows"], found["trained_on"]) == (COUNT, 2 * COUNT)


def test_neighbours_are_learned_from_and_no_more_than_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.precision_head.TRAIN_ROWS", 40)
    rows = _separable_rows(400)
    of_set = storage.open(write_set_to(f"{tmp_path}/team/set", rows))
    chosen = [rows[i].digest for i in range(30, 1200, 120)]
    found = label_rows(of_set, chosen).to_pylist()
    assert [sum(row["split"] == name for row in found) for name in ("train", "test")] == [40, 10]
    keys = {row.digest: i for i, row in enumerate(rows)}
    assert {min(abs(keys[row["digest"]] - i) for i in range(30, 1200, 120)) for row in found} == {0, 1, 2}


@pytest.mark.slow
def test_a_run_that_weighs_its_precision_asks_a_head_and_its_report_says_what_it_said(
    say: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(120):
        path = tmp_path / "corpus" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw(i))
    monkeypatch.setattr("extractor.precision_cost.LEAST_BATCHES", 0)
    monkeypatch.setattr("extractor.engine_settling.drawn", lambda _: 60)
    monkeypatch.setattr("extractor.precision_cost.affordable", lambda *_: 60)
    monkeypatch.setattr("extractor.precision_cost.SHARE", 1e6)
    code, out, _ = say("extract", "corpus", "store/team/set", *SMALL_START, "--precision", "bfloat16", "--local", "--json")
    result = json.loads(out)
    head, page = result["precision"]["head"], Path(result["report"])
    assert (code, head["rows"], head["trained_on"]) == (0, 60, 60)
    told = f"{head['accuracy']:.3f} in bfloat16, {head['accuracy_float32']:.3f} in float32, difference"
    assert told in page.read_text()
    report = json.loads((page.parent / "report.json").read_text())
    assert report["precision"] == result["precision"]
    assert report["seconds"]["driver"]["ask"] > 0
