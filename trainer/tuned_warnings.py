"""What the user should know of how a fine-tuning came out."""

from __future__ import annotations

from trainer.checkpoint import Progress
from trainer.seen_items import Seen


def warnings_of_tuning(progress: Progress, start: str | None, head: str, seen: Seen) -> list[str]:
    """start: the folder of the head that was started from; None: one of the kind `head` was fitted first, and is not written.
    seen: what the start has of the validation items."""
    return [*_without_layers(progress), *_without_gain(progress, start, head, seen)]


def _without_layers(progress: Progress) -> list[str]:
    kept = progress.best_epoch or progress.epochs
    if progress.open_groups[kept - 1]:
        return []
    why = f"the kept epoch, {kept}, came before --stages" if any(progress.open_groups) else "--max-epochs was over before --stages"
    return [f"no layer of the network was trained, the head alone: {why} opened one"]


def _without_gain(progress: Progress, start: str | None, head: str, seen: Seen) -> list[str]:
    """Where the start was no worse."""
    before = progress.curves.get("start_val_loss", [float("inf")])[0]
    if not progress.best_epoch or progress.best_loss < before:
        return []
    losses = f"({before:.3f} at the start, {progress.best_loss:.3f} at best)"
    if seen.note:
        was, unseen = ("was", "the test items") if seen.sure else ("may have been", "items that neither has seen")
        return [
            f"the validation loss did not fall {losses}, which tells nothing, as {start} {was} fitted on the validation items: "
            f"`permafrost evaluate` of both on {unseen} tells which is better"
        ]
    way_out = (
        f"Keep {start}"
        if start
        else f"That was a {head} head on the cached features: `permafrost train` with the same labels, splits and head options, without "
        "--strategy fine-tuning, fits and keeps it"
    )
    return [f"fine-tuning did not lower the validation loss {losses}: what is written is no better than what it started from. {way_out}"]
