"""What the user should know of how a fine-tuning came out."""

from __future__ import annotations

from trainer.checkpoint import Progress


def warnings_of_tuning(progress: Progress) -> list[str]:
    return [*_without_layers(progress), *_without_gain(progress)]


def _without_layers(progress: Progress) -> list[str]:
    kept = progress.best_epoch or progress.epochs
    if progress.open_groups[kept - 1]:
        return []
    why = f"the kept epoch, {kept}, came before --stages" if any(progress.open_groups) else "--max-epochs was over before --stages"
    return [f"no layer of the network was trained, the head alone: {why} opened one"]


def _without_gain(progress: Progress) -> list[str]:
    """Where the start was no worse."""
    before = progress.curves.get("start_val_loss", [float("inf")])[0]
    if progress.best_epoch and progress.best_loss >= before:
        return [
            f"fine-tuning did not lower the validation loss ({before:.3f} at the start, {progress.best_loss:.3f} at best): keep the start"
        ]
    return []
