"""A corpus embedded in several precisions: how fast, how near to float32, and what a head makes of it."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

import storage
from extractor import ExtractOptions, Recipe, extract
from scripts.console import progress, warn
from scripts.label_options import label_options
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from storage.golden import cosines

if TYPE_CHECKING:
    from trainer.fitted import FittedHead
    from trainer.label_options import LabelOptions

FLOAT32 = "float32"
BLOCK = 4096  # embeddings compared at a time


def asked_precisions(text: str | None, fast: Sequence[str], engines: Sequence[dict[str, Any]]) -> list[str]:
    """float32 first, which the others are compared with. Raises UsageError for what no engine here has."""
    able = {name for engine in engines if engine["usable"] and engine["engine"] != "jax" for name in engine["precisions"]}
    wanted = [name.strip() for name in text.split(",")] if text else [name for name in fast if name in able]
    if unknown := [name for name in wanted if name not in able]:
        raise UsageError(f"--precisions: no engine here computes in {', '.join(unknown)}; there are {', '.join(sorted(able))}")
    return [FLOAT32, *dict.fromkeys(name for name in wanted if name != FLOAT32)]


def try_precisions(corpus: str, recipe: Recipe, precisions: Sequence[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Extract into a store that is removed afterwards, and fit a logistic head on each set where the images have labels.

    All with the C that validation chose on the first set: chosen on each, it moved accuracies further than the precisions did.
    """
    from trainer.labels import read_labels

    options = label_options(args)
    if args.labels:  # what is wrong there is said before a corpus is embedded
        read_labels(args.labels, options=options)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="permafrost-doctor-") as root:
        fine, plain = None, None
        for precision in precisions:
            of_set, row = _extracted(corpus, f"{root}/doctor/{precision}", replace(recipe, precision=precision, dtype=FLOAT32))
            fine = fine or of_set
            row |= _nearness(fine, of_set)
            may_be_fitted = plain is not None or not rows  # what keeps one from being fitted is told once
            if may_be_fitted and (head := _head(of_set, args.labels, options, plain.chosen["c"] if plain else None)):
                plain = plain or head
                row |= _accuracy(plain, head)
            rows.append(row)
    return rows


def _extracted(corpus: str, name: str, recipe: Recipe) -> tuple[FeatureSet, dict[str, Any]]:
    with progress(recipe.precision, "listing the corpus, then starting") as show:
        result = extract(corpus, name, ExtractOptions(recipe, local=True), lambda p: show(p.done, p.total))
    if not result.rows:
        raise UsageError(f"no image of {corpus} could be embedded")
    forward = result.stage_seconds.get("infer", 0.0)
    row = {"precision": recipe.precision, "engine": result.engine["name"], "images": result.rows, "rejected": result.reasons}
    return storage.open(name), row | {"images_per_second": round(result.embedded / forward, 1) if forward else 0.0}


def _nearness(fine: FeatureSet, other: FeatureSet) -> dict[str, Any]:
    """Cosine of each image's embeddings in the two sets, which hold the same images."""
    found = []
    for start in range(0, fine.rows, BLOCK):
        rows = np.arange(start, min(start + BLOCK, fine.rows))
        found.append(cosines(fine.embeddings(rows), other.embeddings(rows)))
    every = np.concatenate(found)
    return {"cosine_least": round(float(every.min()), 5), "cosine_median": round(float(np.median(every)), 5)}


def _head(of_set: FeatureSet, labels: str | None, options: LabelOptions, c: float | None) -> FittedHead | None:
    """c: None, to choose it by validation."""
    import trainer

    try:
        return trainer.fit(str(of_set.name), labels, trainer.FitOptions("logistic", c=c, labels=options))
    except UsageError as error:
        if labels or options != trainer.LabelOptions():
            raise
        warn(f"no head is fitted: {error}")
        return None


def _accuracy(plain: FittedHead, head: FittedHead) -> dict[str, Any]:
    """On the test items, which both heads have, and the paired difference to float32."""
    from trainer.comparison import Comparison

    ours, theirs = head.metrics["test"], plain.metrics["test"]
    compared = Comparison((ours.right, theirs.right), (ours.losses, theirs.losses), head.positions["test"])
    row = {"accuracy": round(float(np.mean(ours.right)), 4), "test_rows": compared.rows, "c": head.chosen["c"]}
    return row if head is plain else row | {"difference": compared.difference, "difference_interval": list(compared.interval)}
