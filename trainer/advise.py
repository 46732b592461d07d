"""From cached features, labels and sizes to advice: which set, which strategy, and would more labels or a larger head help?

import trainer
found = trainer.advise(["features/products/mobilenet_v2"])
print(found.advice.strategy, found.advice.because)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

import storage
from storage.asked import checked
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from storage.words import backbone_in_words
from trainer.advice_evidence import Evidence, SetScores, compared, evidence_of, facts_of, scores_of
from trainer.advice_pool import MOST_ITEMS, Features, Pool, features_of, identities, pool_of, pooling_note
from trainer.advice_rule import Advice, decide
from trainer.comparison import Comparison
from trainer.options import FitOptions

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Ranked:
    """A set and its scores; `behind`: its linear head beside that of the first set, on the same items (None for the first)."""

    name: str
    version: int
    network: str
    scores: SetScores
    behind: Comparison | None

    def to_dict(self) -> dict[str, Any]:
        behind = None
        if self.behind:
            told = self.behind.to_dict()
            behind = {key: told[key] for key in ("accuracy_difference", "accuracy_difference_interval", "mcnemar_p")}
        return {"set": self.name, "version": self.version, "network": self.network, **self.scores.to_dict(), "behind_first": behind}


@dataclass(frozen=True)
class Advised:
    """`ranking`: best first. `evidence` and `advice` are about the first of it."""

    ranking: tuple[Ranked, ...]
    evidence: Evidence
    advice: Advice
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "advice": self.advice.to_dict(),
            "evidence": self.evidence.to_dict(),
            "ranking": [each.to_dict() for each in self.ranking],
            "seconds": self.seconds,
        }


@checked(uris="the sets", labels="the label file")
def advise(
    uris: Sequence[str | Path],
    labels: str | Path | None = None,
    options: FitOptions | None = None,
    most: int = MOST_ITEMS,
    report: Report | None = None,
) -> Advised:
    """Look at sets `ROOT/TEAM/SET[@VERSION|@TAG]` of the same items, with labels from a file or (None) from the items of the first one.

    What would be trained on is looked at, by cross-validation; what would be tested is not, but for near-duplicates of it. options: labels
    and splits as for `fit`. most: items that are looked at. report: told (sets done, sets in all).

    Raises UsageError: labels that fit nothing, fewer than two classes of two images, sets that share no item; NotFoundError, DamagedError.
    """
    started = time.perf_counter()
    if not uris or most < 1:
        raise UsageError(f"expected one set at least, and one item of it; got {len(uris)} sets, and most={most}")
    pool = pool_of(uris[0], labels, options or FitOptions(), most)
    sets = [pool.feature_set, *(storage.open(uri) for uri in uris[1:])]
    pool, places = _common(pool, sets)
    found: list[tuple[FeatureSet, Features, SetScores]] = []
    for done, (each, positions) in enumerate(zip(sets, places, strict=True)):
        if report:
            report(done, len(sets))
        features = features_of(each, positions)
        found.append((each, features, scores_of(pool, features)))
    found.sort(key=lambda one: -one[2].linear.evaluation.leading)
    first, features, scores = found[0]
    notes = [f"{name}: {note}" for each, _, _ in found if (note := pooling_note(each)) and (name := each.name.folder)]
    evidence = evidence_of(pool.only(np.ones(len(pool), bool), notes) if notes else pool, features, scores)
    if report:
        report(len(sets), len(sets))
    ranking = tuple(
        Ranked(
            str(each.name.folder),
            each.version,
            backbone_in_words(each.description),
            its,
            None if each is first else compared(its.linear, scores.linear),
        )
        for each, _, its in found
    )
    return Advised(ranking, evidence, decide(facts_of(pool, scores)), round(time.perf_counter() - started, 1))


def _common(pool: Pool, sets: Sequence[FeatureSet]) -> tuple[Pool, list[npt.NDArray[np.int64]]]:
    """The pool without what one of the sets has not, and where its items stand in each set."""
    if len(sets) == 1:
        return pool, [pool.positions]
    wanted, found = pool.identities(), []
    for each in sets:
        at = pc.index_in(wanted, value_set=identities(each))
        found.append(np.asarray(pc.fill_null(at, -1).to_numpy(zero_copy_only=False), np.int64))
    everywhere = np.all([at >= 0 for at in found], axis=0)
    if not everywhere.any():
        raise UsageError(
            f"the sets share no image of equal key and content with a label: {', '.join(str(each.name.folder) for each in sets)}. "
            "Backbones are ranked on the same items"
        )
    missing = int((~everywhere).sum())
    smaller = pool.only(everywhere, [f"{missing} items are not in all of the sets, and were left out"] if missing else [])
    kept = np.isin(pool.positions, smaller.positions)
    return smaller, [at[kept] for at in found]
