"""The grid of the adviser's benchmark without its training: tasks, label files and the verdict."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import bench_advice
from scripts.advice_tasks import TASKS, TOPS, Task, read_pixels, write_corpora, write_labels

KINDS = (*TOPS, "hat", "pants", "shoes", "shorts", "skirt")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("advice"), np.random.default_rng(0)
    for kind in KINDS:
        (folder / "photos" / kind).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(random.integers(0, 256, (24, 16, 3), np.uint8)).save(folder / "photos" / kind / f"{i}.jpg")
    write_corpora(folder / "photos", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_learns_from_the_same_images_and_tests_on_all_others(task: Task, corpora: Path, tmp_path: Path) -> None:
    pixels = read_pixels(corpora / task.corpus)
    assert {image.shape for image in pixels.values()} == {(task.size, task.size, 3)}
    counts = write_labels(task, pixels, tmp_path / "labels.csv", most=2)
    with open(tmp_path / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    trained = [row for row in rows if row["split"] == "train"]
    assert (len(trained), len(rows) - len(trained)) == (counts["train"], counts["test"])
    assert set(Counter(Path(row["key"]).parent.name for row in trained).values()) == {2}
    assert counts["classes"] == len({row["label"] for row in rows}) >= 2
    assert len({row["label"] for row in trained}) == counts["classes"]
    assert (counts["wrong"] > 0) == (task.noise > 0)


def test_the_verdict_allows_a_point_and_asks_whether_the_test_items_could_show_more() -> None:
    def reached(*shares: float) -> dict[str, dict[str, object]]:
        made = {
            name: "1" * round(200 * share) + "0" * round(200 * (1 - share))
            for name, share in zip(bench_advice.STRATEGIES, shares, strict=True)
        }
        return {name: {"accuracy": right.count("1") / 200, "right": right} for name, right in made.items()}

    near = bench_advice.judged("hybrid", reached(0.7, 0.79, 0.8))
    assert (near["best"], near["is_right"], near["is_shown_wrong"]) == ("fine-tuning", True, False)
    close = bench_advice.judged("hybrid", reached(0.7, 0.78, 0.8))
    assert (close["is_right"], close["is_shown_wrong"]) == (False, False), "four items of 200 show nothing"
    far = bench_advice.judged("feature-extraction", reached(0.7, 0.78, 0.8))
    assert (far["is_right"], far["is_shown_wrong"]) == (False, True)
    assert json.dumps(far)
