"""Metrics as tables, for the commands that measure heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.console import print_table

if TYPE_CHECKING:
    from trainer.evaluate import Evaluation
    from trainer.evaluate_multi_label import MultiLabelEvaluation

MAX_TABLE_CLASSES = 50
MAX_MATRIX_CLASSES = 20  # a wider confusion matrix does not fit a terminal; --json has it
_COLUMNS = {"average_precision": "AP", "precision": "precision", "recall": "recall", "f1": "F1", "support": "rows"}


def with_intervals(evaluation: Evaluation | MultiLabelEvaluation) -> list[tuple[str, str]]:
    """Each number with where it lies in 95% of bootstrap resamples, and what the temperature mends."""
    numbers = evaluation.to_dict()
    tops = numbers.get("top_accuracy", {})
    told = {**numbers, **{f"top_{k}_accuracy": value for k, value in tops.items()}}
    pairs = [
        (name.replace("_", " "), f"{told[name]:.3f}, 95% {low:.3f} to {high:.3f}") for name, (low, high) in evaluation.intervals.items()
    ]
    if evaluation.scaled and evaluation.scaled[0].is_scaled:
        found, loss = evaluation.scaled
        plain = f"{evaluation.calibration.ece:.3f} as it is; {found.ece:.3f} (log loss {loss:.3f})"
        pairs.append(("calibration error", f"{plain} with the logits divided by {found.temperature:.3g}"))
    return pairs


def print_classes(name: str, evaluation: Evaluation | MultiLabelEvaluation) -> None:
    """One line a class, the worst ones where there are many; then the confusion matrix if there is one that fits."""
    description = evaluation.to_dict()
    per_class = list(description["per_class"].items())
    title = f"{name}, by class"
    if len(per_class) > MAX_TABLE_CLASSES:
        title += f" (the {MAX_TABLE_CLASSES} of {len(per_class)} with the lowest F1; --json has all)"
        per_class = sorted(per_class, key=lambda row: row[1]["f1"])[:MAX_TABLE_CLASSES]
    columns = {field: column for field, column in _COLUMNS.items() if per_class and field in per_class[0][1]}
    rows = [(label, *("none" if values[field] is None else values[field] for field in columns)) for label, values in per_class]
    print_table(["class", *columns.values()], rows, title=title)
    if "confusion" in description and len(evaluation.classes) <= MAX_MATRIX_CLASSES:
        print()
        matrix = [(label, *counts) for label, counts in zip(evaluation.classes, description["confusion"], strict=True)]
        print_table(["true \\ predicted", *evaluation.classes], matrix, title=f"{name}, confusion matrix")
