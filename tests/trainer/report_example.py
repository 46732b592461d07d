"""A report for tests of its page: real numbers of made-up predictions, with hostile names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.comparison import Comparison
from trainer.drift import Drift
from trainer.evaluate import evaluate
from trainer.evaluate_multi_label import evaluate_multi_label
from trainer.intervals import Interval
from trainer.measured import AnyEvaluation
from trainer.near_duplicates import NearDuplicates
from trainer.report_data import MapPoint, Report, ShownItem
from trainer.slices import Slice

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a'&amp;b\x1b[31m\u202egpj.exe")
# The smallest JPEG that every browser shows: one grey pixel.
PIXEL = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb004300080606070605080707070909080a0c140d0c0b0b0c1912130f141d1a1f1e1d1a1c1c20242e2720"
    "222c231c1c2837292c30313434341f27393d38323c2e333432ffc0000b080001000101011100ffc40014000100000000000000000000000000000009ffc40014"
    "10010000000000000000000000000000000000ffda0008010100003f0054dfffd9"
)


def predictions(classes: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    y = random.integers(0, classes, n)
    probabilities = random.dirichlet(np.full(classes, 0.5), n)
    probabilities[np.arange(n), y] += 0.5
    return y, probabilities / probabilities.sum(axis=1, keepdims=True)


def make_evaluation(classes: Sequence[str]) -> AnyEvaluation:
    return evaluate([predictions(len(classes))], classes, temperature=0.7)


def make_multi_label(classes: Sequence[str]) -> AnyEvaluation:
    random = np.random.default_rng(0)
    y = random.random((100, len(classes))) < 0.3
    return evaluate_multi_label([(y, (random.random(y.shape) + y) / 2)], classes, temperature=1.3)


def make_report(evaluation: AnyEvaluation | None = None, **changes: Any) -> Report:
    name = HOSTILE[1]
    evaluation = evaluation or make_evaluation([HOSTILE[0], "hat", "shoe"])
    shown = [ShownItem(name, "hat", HOSTILE[0], "91% sure", PIXEL), ShownItem("b.jpg", "hat", "shoe", "80% sure")]
    values: dict[str, Any] = {
        "title": f"head {HOSTILE[2]}",
        "facts": [("set", f"features/me/{HOSTILE[0]}@1"), ("labels", name)],
        "evaluations": {"validation": evaluation, "test": evaluation},
        "shown": "test",
        "history": {"loss": [2.0, 1.0, float("nan")], "val_loss": [2.1, 1.5, 1.4], "accuracy": [0.5, 0.7, 0.8]},
        "sweep": [{"head": "linear", "c": 10.0**k, "validation": {"mean": 0.8 - k / 20, "low": 0.7, "high": 0.9}} for k in range(-2, 3)],
        "points": [MapPoint(i / 9, 0.5, i % 3, i != 4, name, PIXEL if i == 2 else None) for i in range(10)],
        "map_shares": (0.4, 0.2),
        "mistakes": shown,
        "errors": shown,
        "error_count": 7,
        "doubted_rows": 200,
        "duplicates": [ShownItem("a.jpg", "", "c.jpg", "cosine 0.9999", PIXEL, PIXEL)],
        "near": NearDuplicates([(0, 1, 0.9999)], 3, 0.98, 200),
        "slices": {HOSTILE[0]: [Slice(HOSTILE[1], 3, 1, Interval(0.1, 0.9))]},
        "comparison": (
            HOSTILE[0],
            Comparison(
                (np.array([1, 0, 1], bool), np.array([1, 1, 0], bool)), (np.array([0.1, 2, 0.1]), np.array([0.2, 0.1, 3])), np.arange(3)
            ),
        ),
        "drift": Drift(1, 3, 5, 20, (0.9, Interval(0.8, 0.95)), (0.7, Interval(0.4, 0.9)), {HOSTILE[0]: (0.2, 0.5)}, 0.31),
        "warnings": [f"a note on {HOSTILE[0]}"],
    }
    return Report(**{**values, **changes})
