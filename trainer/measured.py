"""The numbers of a fit by split, and what they were measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from trainer.evaluate import Evaluation
from trainer.evaluate_multi_label import MultiLabelEvaluation
from trainer.splits import VALIDATION
from trainer.task import Targets

AnyEvaluation = Evaluation | MultiLabelEvaluation
Metrics = dict[str, AnyEvaluation]


def calibrated(metrics: Mapping[str, AnyEvaluation]) -> Metrics:
    """The same with the temperature that validation asks for; as they are where nothing was validated on.

    Validation is measured on the head before its refit on train and validation together: of that one, no item would be left to ask.
    """
    temperature = metrics[VALIDATION].fitted_temperature() if VALIDATION in metrics else None
    return {name: evaluation.with_temperature(temperature) for name, evaluation in metrics.items()}


def digest_of_tested(digests: Sequence[bytes], y: Targets, classes: Sequence[str]) -> str:
    """sha256 of which images were tested as which classes, whatever their order: heads with the same one were asked the same questions."""
    rows = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)
    targets = np.ascontiguousarray(y.reshape(len(y), -1).astype("<i4" if y.ndim == 1 else np.uint8)).view(np.uint8).reshape(len(y), -1)
    whole = np.ascontiguousarray(np.concatenate([rows, targets], axis=1))
    ordered = np.sort(whole.view(np.dtype((np.void, whole.shape[1]))).reshape(-1))
    names = "\0".join([str(len(whole)), *classes]).encode("utf-8", "surrogatepass")
    return hashlib.sha256(hashlib.sha256(names).digest() + ordered.tobytes()).hexdigest()
