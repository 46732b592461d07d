"""How the heads of a sweep are fitted, by name. What is not here cannot be swept."""

from __future__ import annotations

from trainer.sweep_exact import LOGISTIC, RIDGE
from trainer.sweep_one_pass import ONE_PASS
from trainer.sweep_work import Way

WAYS: dict[str, Way] = {"linear": ONE_PASS, "mlp": ONE_PASS, "logistic": LOGISTIC, "ridge": RIDGE}
