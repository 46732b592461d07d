"""What a `FittedHead` says of the items it was fitted on, however it was fitted."""

from __future__ import annotations

from typing import Any

from storage.feature_set import FeatureSet
from trainer.features import LabelledItems
from trainer.measured import digest_of_tested
from trainer.split_checks import split_warnings
from trainer.splits import TEST, TRAIN, VALIDATION, Split


def told_of_items(feature_set: FeatureSet, labelled: LabelledItems, split: Split) -> dict[str, Any]:
    """Fields of `FittedHead`, by name."""
    test = split.positions(TEST)
    return {
        "feature_set": feature_set,
        "classes": labelled.classes,
        "labels": labelled.joined.report,
        "rows": {name: len(split.positions(name)) for name in (TRAIN, VALIDATION, TEST)},
        "straddling_duplicates": split.straddling,
        "tested": digest_of_tested(labelled.digests[test], labelled.y[test], labelled.classes) if len(test) else None,
    }


def warnings_of_items(labelled: LabelledItems, split: Split, unvalidated: str) -> list[str]:
    """unvalidated: what follows where no item is left to validate on."""
    return [*split_warnings(labelled.joined, split, unvalidated), *labelled.joined.report.warnings()]
