"""The report of a head: one HTML file that asks nobody for anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from storage.asked import checked
from storage.files import write_atomic
from storage.words import backbone_in_words
from trainer.embedding_map import map_of
from trainer.evaluate_set import SetEvaluation
from trainer.fitted import FittedHead
from trainer.head_folder import Head
from trainer.measured import AnyEvaluation
from trainer.near_duplicates import NearDuplicates, near_duplicates_of
from trainer.questions import Answers
from trainer.report_data import Items, Pictures, Report, duplicates_of, errors_of, mistakes_of, no_pictures, points_of
from trainer.report_page import render
from trainer.slices import Slice
from trainer.splits import TEST, TRAIN, VALIDATION
from trainer.tails import FEATURE_EXTRACTION


@checked(report="the report (trainer.report_of_fit and report_of_evaluation give one)")
def write_report(path: str | Path, report: Report) -> None:
    """Write the page; an older one there is replaced."""
    write_atomic(Path(path), render(report).encode())


@checked()
def report_of_fit(
    fitted: FittedHead,
    title: str,
    pictures: Pictures = no_pictures,
    sweep: Sequence[Mapping[str, Any]] = (),
    slices: Mapping[str, Sequence[Slice]] | None = None,
) -> Report:
    """Of a head that was just fitted; reads the features that the map and the search for near-duplicates need.

    sweep: candidates of a sweep, {head, c, ..., validation: {mean, low, high}}. What is shown closely is test, else validation, else train.
    """
    shown = next(name for name in (TEST, VALIDATION, TRAIN) if name in fitted.metrics)
    items = Items(fitted.feature_set, fitted.positions[shown], pictures)
    train = np.concatenate(
        [fitted.positions[name] for name in (TRAIN, VALIDATION) if name in fitted.positions and name != shown] or [items.positions[:0]]
    )
    near = near_duplicates_of(fitted.feature_set, items.positions, np.sort(train)) if len(train) and shown != TRAIN else None
    crossed = fitted.cross_validation
    doubted = (crossed.evaluation, Items(fitted.feature_set, crossed.positions, pictures)) if crossed else None
    evaluations = {**fitted.metrics, **({f"{crossed.folds} folds": crossed.evaluation} if crossed else {})}
    return _report(
        _Subject(title, _facts_of_fit(fitted), evaluations, shown, items, is_seen=shown == TRAIN, near=near, doubted=doubted),
        history=fitted.history,
        sweep=sweep,
        slices=slices or {},
        warnings=fitted.warnings,
        refitted=fitted.refitted,
    )


@checked()
def report_of_evaluation(head: Head, result: SetEvaluation, answers: Answers, pictures: Pictures = no_pictures) -> Report:
    """Of a kept head that was measured on a set."""
    items = Items(result.feature_set, result.positions, pictures)
    name = result.split or "all"
    facts = _facts_of_evaluation(head, result)
    subject = _Subject(
        f"{head.folder.name} on {items.feature_set.name.name}", facts, {name: result.evaluation}, name, items, result.is_seen, answers.near
    )
    history = head.description.get("history")
    return _report(
        subject,
        history=history if isinstance(history, dict) else {},
        slices=answers.slices,
        comparison=answers.comparison,
        drift=answers.drift,
        warnings=result.warnings,
    )


@dataclass(frozen=True)
class _Subject:
    title: str
    facts: list[tuple[str, str]]
    evaluations: Mapping[str, AnyEvaluation]
    shown: str
    items: Items
    is_seen: bool  # whether the head learned from the shown items
    near: NearDuplicates | None
    doubted: tuple[AnyEvaluation, Items] | None = None  # what label errors are looked for in; None: in what is shown, if it is not seen


def _report(subject: _Subject, **rest: Any) -> Report:
    evaluation, items = subject.evaluations[subject.shown], subject.items
    doubted = subject.doubted or (None if subject.is_seen else (evaluation, items))
    errors = errors_of(*doubted) if doubted else None
    found = map_of(items.feature_set, items.positions)
    return Report(
        title=subject.title,
        facts=subject.facts,
        evaluations=subject.evaluations,
        shown=subject.shown,
        points=points_of(found, evaluation, items),
        map_shares=found.shares,
        mistakes=mistakes_of(evaluation, items),
        errors=errors[0] if errors else None,
        error_count=errors[1] if errors else 0,
        doubted_rows=doubted[0].rows if doubted else 0,
        near=subject.near,
        duplicates=duplicates_of(subject.near, items) if subject.near else (),
        **rest,
    )


def _facts_of_fit(fitted: FittedHead) -> list[tuple[str, str]]:
    rows = ", ".join(f"{n:,} {name}" for name, n in fitted.rows.items())
    digest = f" (sha256 {fitted.labels.digest[:12]})" if fitted.labels.digest else ""
    return [
        ("set", f"{fitted.feature_set.name.folder}@{fitted.feature_set.version}"),
        ("backbone", backbone_in_words(fitted.feature_set.description)),
        ("feature space", fitted.feature_set.space.id),
        ("labels", f"{fitted.labels.source}{digest}"),
        ("items", rows),
        ("classes", f"{len(fitted.classes):,}" + (", any number an item" if fitted.options.multi_label else "")),
        ("strategy", fitted.strategy),
        ("head", f"{fitted.options.describe()}, c {fitted.options.c:g}" if fitted.options.c else fitted.options.describe()),
        ("fit", f"{told_of_fit(fitted)}, {fitted.seconds:.1f} s"),
    ]


def told_of_fit(fitted: FittedHead) -> str:
    """Exact heads have no epochs; others say them, hybrid ones beside those of the head alone."""
    chosen = [f"{name.replace('_', ' ')} {value:.3g}" for name, value in fitted.chosen.items()]
    return ", ".join(
        chosen if chosen and fitted.strategy == FEATURE_EXTRACTION else [f"{fitted.epochs} epoch{'s' * (fitted.epochs != 1)}", *chosen]
    )


def _facts_of_evaluation(head: Head, result: SetEvaluation) -> list[tuple[str, str]]:
    options = head.description.get("options", {})
    return [
        ("head", f"{head.folder}"),
        ("kind", str(options.get("head", "")) if isinstance(options, dict) else ""),
        ("fitted on", head.fitted_on + (f", version {head.version}" if head.version else "")),
        ("measured on", f"{result.feature_set.name.folder}@{result.feature_set.version}, {result.split or 'all labelled items'}"),
        ("feature space", head.space.id),
        ("labels", result.labels.source),
        ("classes", f"{len(head.classes):,}"),
    ]
