"""Advice and its evidence, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.console import print_pairs, print_table, visible

if TYPE_CHECKING:
    from trainer.advice_evidence import Evidence
    from trainer.advice_rule import Facts
    from trainer.advise import Advised
    from trainer.comparison import Comparison
    from trainer.intervals import Interval

MOST_ROWS = 5  # of what is shown by example; --json has all
ABOUT_TWICE = (1.8, 2.2)


def print_advice(found: Advised) -> None:
    evidence, advice = found.evidence, found.advice
    print(f"advice   {advice.strategy}")
    print(f"because  {advice.because}")
    for change in advice.changes:
        print(f"unless   {change}")
    print()
    _print_ranking(found)
    _print_heads(evidence)
    _print_curve(evidence)
    _print_labels(evidence, advice.facts)
    print("\nwhat this cannot know")
    for unknown in advice.unknown:
        print(f"- {unknown}")
    print(f"\n{found.seconds:.0f} s")


def _print_ranking(found: Advised) -> None:
    from trainer.advice_evidence import interval_of

    rows = [
        (
            each.name,
            each.scores.linear.evaluation.leading,
            _range(interval_of(each.scores.linear)),
            each.scores.neighbours.evaluation.leading,
            each.scores.logme,
            each.scores.h_score,
            _behind(each.behind) if each.behind else "",
        )
        for each in found.ranking
    ]
    columns = ["set", "ridge", "95%", "k-NN", "LogME", "H-score", "ridge behind the first"]
    print_table(columns if len(rows) > 1 else columns[:-1], rows if len(rows) > 1 else [row[:-1] for row in rows])
    for each in found.ranking:
        print(f"{each.name}@{each.version}: {visible(each.network)}")


def _behind(behind: Comparison) -> str:
    return f"{-behind.difference:.3f} ({_range(_turned(behind.interval))})"


def _turned(interval: Interval) -> tuple[float, float]:
    return -interval.high, -interval.low


def _print_heads(evidence: Evidence) -> None:
    linear, beside = evidence.scores.linear, evidence.layered
    _title(f"capacity, on {len(evidence.pool)} items")
    rows = [
        (f"ridge, unseen items of {linear.folds} folds", linear.evaluation.leading),
        ("ridge, the items it learned from", evidence.memorised),
        ("a hidden layer, unseen items of 2 folds", float(beside.right[0].mean())),
        ("ridge, unseen items of 2 folds", float(beside.right[1].mean())),
    ]
    print_table(["head", "accuracy"], rows)
    said = f"a hidden layer brings {beside.difference:+.3f} ({_range(beside.interval)})"
    print(f"would more capacity help? {_answer(evidence, evidence.more_capacity, said)}")


def _answer(evidence: Evidence, answer: str, said: str) -> str:
    from trainer.advice_rule import FEW, UNTOLD

    return f"{answer}: {said}{f', and {len(evidence.pool)} items, under {FEW}, are too few to tell' if answer == UNTOLD else ''}"


def _print_curve(evidence: Evidence) -> None:
    curve = evidence.curve
    _title("learning curve of ridge")
    rows: list[tuple[object, ...]] = [(f"{size:.0f}", value, "measured") for size, value in zip(curve.sizes, curve.accuracy, strict=True)]
    rows += [
        (f"{curve.sizes[-1] * times:.0f}", value, f"forecast, {_range(interval)}, if a power law goes on")
        for times, value, interval in curve.forecast()
    ]
    print_table(["labels", "accuracy", ""], rows)
    print(f"would more labels help? {_more_labels(evidence)}")


def _more_labels(evidence: Evidence) -> str:
    gain = evidence.curve.last_gain()
    if gain is None:
        return "unknown: there are too few for a curve"
    value, interval = gain
    before, last = evidence.curve.sizes[-2:]
    doubled = ABOUT_TWICE[0] <= last / before <= ABOUT_TWICE[1]  # shares of few labels are rounded, and a size may be left out
    step = "the last doubling" if doubled else f"going from {before:.0f} to {last:.0f} labels"
    said = f"{step} brought {value:+.3f} ({_range(interval)})"
    return _answer(evidence, evidence.more_labels, said)


def _print_labels(evidence: Evidence, facts: Facts) -> None:
    _title("labels")
    counts, leaks, names = evidence.counts, evidence.leaks, [visible(name) for name in evidence.pool.classes]
    most, least = int(counts.argmax()), int(counts.argmin())
    tested = (
        f"{len(leaks.pairs)} of {leaks.rows} test items, {leaks.same} more are in training themselves" if leaks else "nothing is tested"
    )
    print_pairs(
        [
            ("classes", f"{len(counts)}, from {counts[least]} ({names[least]}) to {counts[most]} ({names[most]}) items"),
            (
                "doubtful",
                f"{len(evidence.errors.positions)} of {evidence.errors.rows} ({evidence.errors.share:.1%}), by confident learning",
            ),
            ("wrong where sure", f"{facts.wrong_where_sure:.1%} of the quarter that ridge is surest of"),
            ("near-duplicates", _near_inside(evidence)),
            ("near training", tested),
        ]
    )
    if confused := evidence.confused():
        print_table(["class", "taken for", "items", "share"], [(visible(a), visible(b), n, share) for a, b, n, share in confused])
    _print_doubtful(evidence)


def _near_inside(evidence: Evidence) -> str:
    near, other = evidence.inside.near, evidence.inside.other_label
    said = f"{near} in training, {other} of them beside another label"
    return said + ("; most images are that near in these features, so it means nothing" if 2 * near > len(evidence.pool) else "")


def _print_doubtful(evidence: Evidence) -> None:
    errors, names = evidence.errors, evidence.pool.classes
    keys = evidence.keys(evidence.scores.linear.positions[errors.positions[:MOST_ROWS]])
    told = zip(keys, errors.given, errors.suggested, errors.margin.tolist(), strict=False)
    if rows := [(visible(key), visible(names[a]), visible(names[b]), margin) for key, a, b, margin in told]:
        print_table(["most doubtful", "label", "rather", "by"], rows)


def _title(text: str) -> None:
    print(f"\n{text}")


def _range(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}"
