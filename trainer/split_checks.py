"""What is said of a split before it is trained on: an error for a class that nothing is learned of, else warnings."""

from __future__ import annotations

import numpy as np

from storage.errors import UsageError
from trainer.label_join import Joined
from trainer.splits import TEST, TRAIN, UNUSED, VALIDATION, Split

SHOWN = 5  # classes named
HELD_OUT_OF_NONE = 3  # images of a class of which a stratified split holds none out, by the shares that are the default ones


def require_all_classes(joined: Joined, split: Split) -> None:
    """Raise UsageError unless each class has an item to train on."""
    if absent := _absent(joined, split, TRAIN):
        raise UsageError(
            f"the train split has no item of {_some(absent)}: a head cannot learn a class it never sees. "
            "Move items of it to train, split by another seed or stratified, or leave its labels out"
        )


def split_warnings(joined: Joined, split: Split, unvalidated: str) -> list[str]:
    """unvalidated: what follows where no item is left to validate on."""
    found = []
    for name, doing, so in (
        (TEST, "test", "the numbers say nothing about new images"),
        (VALIDATION, "validate", unvalidated),
    ):
        if not len(split.positions(name)):
            found.append(f"no item was left to {doing} on: {so}{_way_out(joined, split)}")
        elif absent := _absent(joined, split, name):
            found.append(f"the {name} split has no item of {_some(absent)}: its numbers say nothing of that")
    if split.straddling:
        found.append(f"{split.straddling} images stand in more than one of the given splits: test numbers are too good")
    if split.straddling_groups:
        found.append(f"{split.straddling_groups} groups stand in more than one of the given splits: test numbers are too good")
    if split.given and joined.given.missing:
        found.append(f"{joined.given.missing} labelled items have no split and were trained on")
    for name in split.passed_over:
        found.append(f"the share of {name} that was asked for was passed over, as splits are given: split by hash or stratified for shares")
    if not split.given and joined.given.any:
        found.append("items or labels carry splits, which were passed over: the split was asked for otherwise")
    if unused := len(split.positions(UNUSED)):
        found.append(f"{unused} training items were left out: more than the shots")
    return found


def _way_out(joined: Joined, split: Split) -> str:
    few = not split.given and joined.column.counts().max() <= HELD_OUT_OF_NONE
    return ". So few images a class leave none of each to hold out: --split-by hash holds out a share of all images" if few else ""


def _absent(joined: Joined, split: Split, name: str) -> list[str]:
    counts = joined.column.take(split.positions(name)).counts()
    return [joined.classes[number] for number in np.flatnonzero(counts == 0)]


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (f" and {len(names) - SHOWN} more classes" if len(names) > SHOWN else "")
