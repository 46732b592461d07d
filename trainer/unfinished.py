"""What is said of a training that was over before its validation loss had stopped falling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trainer.options import FitOptions

LAST = 10  # epochs that are looked at, however long the patience
WORTH = 1e-3  # of the loss: what fell by less in these epochs is as good as still


def warnings_of_training(curves: Mapping[str, Sequence[float]], options: FitOptions, is_hybrid: bool) -> list[str]:
    """curves: by epoch; of exact heads, and without validation items, there is none of the validation loss."""
    rates = {"--tail-learning-rate": options.tail_learning_rate, "--learning-rate": options.learning_rate}
    rate = next((f"{name} ({rate:g})" for name, rate in rates.items() if rate), "")
    exact = "" if is_hybrid or options.map == "attention" else ", or take --head logistic, which is fitted exactly"
    return unfinished(curves, options.max_epochs, options.patience, f"Raise --max-epochs or {rate}{exact}")


def unfinished(curves: Mapping[str, Sequence[float]], max_epochs: int, patience: int, way_out: str) -> list[str]:
    """Where all epochs that there could be were trained, and the last better one came in less than half of what patience waits for one."""
    losses = curves.get("val_loss", [])
    if len(losses) < max_epochs:
        return []
    end, best, waits = len(losses) - 1, int(np.argmin(np.nan_to_num(losses, nan=np.inf))), min(patience, LAST)
    before = max(0, end - waits)
    if 2 * (end - best) >= waits or not losses[best] < (1 - WORTH) * losses[before]:
        return []
    return [
        f"--max-epochs {max_epochs} ended the training before --patience {patience} did: the validation loss went from "
        f"{losses[before]:.4g} in epoch {before + 1} to {losses[best]:.4g}, its least, in epoch {best + 1}, and may fall further. {way_out}"
    ]
