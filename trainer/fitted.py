"""A fitted head with everything needed to trust it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from storage.asked import checked
from storage.feature_set import FeatureSet
from storage.space import Space
from trainer.cross_validation import CrossValidation
from trainer.evaluate import Evaluation
from trainer.evaluate_multi_label import MultiLabelEvaluation
from trainer.labels import LabelReport
from trainer.options import FitOptions


@dataclass(frozen=True)
class FittedHead:
    """`model` maps features [N, *shape] to probabilities [N, C]."""

    model: keras.Model
    classes: tuple[str, ...]
    feature_set: FeatureSet
    options: FitOptions
    metrics: dict[str, Evaluation | MultiLabelEvaluation]  # by split; validation as measured before the refit, the others on the kept head
    epochs: int  # 0: of a head that is found exactly
    history: dict[str, list[float]]
    labels: LabelReport
    rows: dict[str, int]  # items by split
    straddling_duplicates: int
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    positions: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)  # of the items by split, in the order of their outcomes
    tested: str | None = None  # sha256 of what it was tested on; None: of nothing
    chosen: dict[str, float] = field(default_factory=dict)  # what the fit decided by itself, by name
    path: dict[str, list[float]] = field(default_factory=dict)  # the strengths tried, and the validation loss (or error) of each
    cross_validation: CrossValidation | None = None
    strategy: str = "feature-extraction"  # or "hybrid", "fine-tuning"
    frozen: dict[str, Any] = field(default_factory=dict)  # of the other strategies: what was frozen, and what was trained
    input_space: Space | None = None  # that `model` reads, if not the set's
    fit_seconds: float = 0.0  # of `seconds`: the fit and its refit, without reading and measuring

    @property
    def refitted(self) -> bool:
        """Whether the kept head learned from the validation items too, after they were measured."""
        return bool(self.rows.get("validation")) and not self.options.shots and self.input_space is None


@checked()
def summary(fitted: FittedHead) -> dict[str, Any]:
    """What `head.json` and `--json` say of a fit."""
    return {
        "set": str(fitted.feature_set.name),
        "version": fitted.feature_set.version,
        "space_id": fitted.feature_set.space.id,
        "strategy": fitted.strategy,
        "frozen": fitted.frozen,
        "classes": list(fitted.classes),
        "multi_label": fitted.options.multi_label,
        "rows": sum(fitted.rows.values()),
        "rows_by_split": fitted.rows,
        "metrics": {name: evaluation.to_dict() for name, evaluation in fitted.metrics.items()},
        "tested_sha256": fitted.tested,
        "label_set_sha256": fitted.labels.joined_digest,
        "epochs": fitted.epochs,
        "cross_validation": fitted.cross_validation.to_dict() if fitted.cross_validation else None,
        "chosen": fitted.chosen,
        "path": fitted.path,
        "labels": {**fitted.labels.to_dict(), "straddling_duplicates": fitted.straddling_duplicates},
        "seconds": fitted.seconds,
        "fit_seconds": fitted.fit_seconds,
        "warnings": fitted.warnings,
    }
