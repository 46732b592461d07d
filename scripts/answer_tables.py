"""What `permafrost evaluate` was asked beyond the numbers, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scripts.console import print_table, visible

if TYPE_CHECKING:
    from trainer import SetEvaluation
    from trainer.comparison import Comparison
    from trainer.drift import Drift
    from trainer.questions import Answers

MOST_ROWS = 30  # of a table; --json has all


def print_answers(result: SetEvaluation, answers: Answers) -> None:
    if answers.comparison:
        _print_comparison(*answers.comparison, result)
    for column, found in answers.slices.items():
        rows = [(visible(s.value), s.rows, s.accuracy, _range(s.interval), "few items" if s.is_small else "") for s in found]
        _print(f"by {column}, worst first", ["value", "rows", "accuracy", "95%", ""], rows)
    if answers.errors:
        errors, names = answers.errors, result.evaluation.classes
        keys = result.keys(result.positions[errors.positions])
        told = zip(keys, errors.given, errors.suggested, errors.margin.tolist(), strict=True)
        doubtful = [(visible(key), names[a], names[b], margin) for key, a, b, margin in told]
        title = f"likely label errors: {len(doubtful)} of {errors.rows} items ({errors.share:.1%}), most doubtful first"
        _print(title, ["key", "label", "rather", "by"], doubtful)
    if answers.near:
        near = answers.near.to_dict(lambda positions: result.keys(np.array(positions, np.int64)))
        pairs = [(visible(pair["test"]), visible(pair["train"]), pair["cosine"]) for pair in near["pairs"]]
        title = f"near-duplicates in train: {near['near']} of {near['rows']} items at cosine {near['threshold']:g} or above"
        _print(title + f"; {near['same_image']} more are in train themselves", ["item", "in train", "cosine"], pairs)
    if answers.drift:
        _print_drift(answers.drift)


def _print_comparison(name: str, found: Comparison, result: SetEvaluation) -> None:
    loss, interval = found.loss_difference
    rows = [
        ("accuracy", f"{found.difference:+.4f}", _range(found.interval, "+.4f")),
        ("log loss", f"{loss:+.4f}", _range(interval, "+.4f")),
    ]
    _print(f"this head minus {name}, on the same {found.rows} items: {found.verdict('this head', name)}", ["", "difference", "95%"], rows)
    for which, numbers in (("this head", found.only_first), (name, found.only_second)):
        keys = result.keys(found.positions[numbers[:5]])
        print(f"only {which} right: {len(numbers)}" + (f", such as {', '.join(map(visible, keys))}" if keys else ""))


def _print_drift(drift: Drift) -> None:
    measured = [(f"test items of version {drift.then}", drift.accuracy_then), (f"items added up to {drift.now}", drift.accuracy_added)]
    rows = [(what, told[0], _range(told[1])) for what, told in measured if told]
    title = f"drift since version {drift.then}: {drift.added} of {drift.rows} labelled items are new ({drift.share_added:.1%})"
    if drift.mean_distance is not None:
        title += f", the mean of their features {drift.mean_distance:.3f} spreads away"
    _print(title, ["accuracy on", "", "95%"], rows)
    if drift.added:
        moved = sorted(drift.class_shares.items(), key=lambda pair: -abs(pair[1][1] - pair[1][0]))
        _print("shares of the classes", ["class", "known", "added"], [(name, *shares) for name, shares in moved])


def _print(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n{title}")
    if rows:
        print_table(columns, rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        print(f"... and {len(rows) - MOST_ROWS} more; --json has all")


def _range(interval: tuple[float, float], form: str = ".3f") -> str:
    return f"{interval[0]:{form}} to {interval[1]:{form}}"
