"""Keras' backend in this process: settled by the environment before Keras is imported, and for good. Imports no Keras."""

from __future__ import annotations

import os
import sys

from extractor.engine_choice import EngineChoice
from storage.errors import UsageError


def require_backend(engine: EngineChoice) -> None:
    """Have Keras compute on what an engine needs. Raises UsageError where Keras is there already and computes on something else."""
    wanted = engine.kind.backend
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = wanted
        return
    there = sys.modules["keras"].backend.backend()
    if there != wanted and wanted != "tensorflow":  # without TensorFlow, `backbones.build` has the words
        raise UsageError(
            f"the {engine.name} engine needs Keras on {wanted}, and Keras computes on {there} in this process already: set "
            f"KERAS_BACKEND={wanted} before it is imported, or run without --local, on Ray's workers"
        )
