"""The report's sections on classes: a bar each, and which are taken for which."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from storage.html import Markup, join, tag
from trainer.evaluate import Evaluation
from trainer.report_data import Report

MOST_BARS = 60
MOST_SIDE = 24  # of a confusion matrix that a page can show
MOST_PAIRS = 15
MOST_BESIDE = 8  # classes of a matrix that leaves room for the pairs beside it
MOST_LETTERS = 24  # of a name at the edge of the matrix; 13 px high, as long as 5 of its columns are wide


def classes_section(report: Report) -> Markup:
    """F1 by class as bars, the worst first; how far it could have come out elsewhere as a line in the bar."""
    per_class = report.evaluation.to_dict()["per_class"]
    there = [(name, each) for name, each in per_class.items() if each["support"]]
    shown = sorted(there, key=lambda pair: (pair[1]["f1"], pair[0]))[:MOST_BARS]
    is_single = isinstance(report.evaluation, Evaluation)
    rows = []
    for name, each in shown:
        interval = each.get("f1_interval")
        line = [tag("i", style=f"left:{100 * interval[0]:.1f}%;width:{100 * (interval[1] - interval[0]):.1f}%")] if interval else []
        bar = tag("div", tag("span", style=f"width:{100 * each['f1']:.1f}%"), *line, class_="bar")
        numbers = [each["f1"], each["precision"], each["recall"], *([] if is_single else [each["average_precision"]])]
        cells = [tag("td", f"{value:.3f}", class_="n") for value in numbers]
        rows.append(tag("tr", tag("td", name), tag("td", bar), *cells, tag("td", f"{each['support']:,}", class_="n")))
    columns = ["F1", "precision", "recall", *([] if is_single else ["AP"]), "items"]
    heads = tag("tr", tag("th", "class"), tag("th", ""), *[tag("th", name, class_="n") for name in columns])
    of = f"the {len(shown)} of {len(there):,} with the lowest F1" if len(shown) < len(there) else "lowest F1 first"
    body = tag("table", tag("thead", heads), tag("tbody", *rows))
    return tag("section", tag("h2", f"By class, {of}"), tag("div", body, class_="wide"))


def confusion_section(report: Report) -> Markup:
    """The matrix, or of many classes the part with the most mistakes, and the pairs that are most often taken for each other."""
    if not isinstance(report.evaluation, Evaluation):
        return join()
    confusion, classes = report.evaluation.confusion, report.evaluation.classes
    wrong = confusion - np.diag(np.diag(confusion))
    chosen = np.arange(len(classes))
    heading = "Confusion matrix"
    if len(classes) > MOST_SIDE:
        mistakes = wrong.sum(axis=0) + wrong.sum(axis=1)
        chosen = np.sort(np.argsort(-mistakes, kind="stable")[:MOST_SIDE])
        heading += f": the {MOST_SIDE} of {len(classes):,} classes with the most mistakes"
    note = "Rows are true classes, columns predicted ones; the colour is the share of the row."
    matrix = tag("div", tag("div", _matrix(confusion, classes, chosen), class_="wide"), tag("p", note, class_="soft"))
    beside = "side" if len(chosen) <= MOST_BESIDE else ""
    return tag("section", tag("h2", heading), tag("div", matrix, tag("div", _pairs(wrong, classes)), class_=beside))


def _matrix(confusion: npt.NDArray[np.int64], classes: tuple[str, ...], chosen: npt.NDArray[np.int64]) -> Markup:
    totals = np.maximum(1, confusion.sum(axis=1))
    heads = tag("tr", tag("th", ""), *[_edge(classes[c]) for c in chosen])
    rows = []
    for true in chosen:
        cells = []
        for predicted in chosen:
            count, share = int(confusion[true, predicted]), confusion[true, predicted] / totals[true]
            style = f"background:rgba(var(--{'cell' if true == predicted else 'wrong'}),{0.75 * share:.3f})"
            words = f"{classes[true]} predicted as {classes[predicted]}: {count} ({share:.1%})"
            cells.append(tag("td", f"{count:,}" if count else "", style=style, title=words))
        rows.append(tag("tr", _edge(classes[true]), *cells))
    return tag("table", tag("thead", heads), tag("tbody", *rows), class_="matrix")


def _edge(name: str) -> Markup:
    return tag("th", tag("span", shortened(name)), title=name)


def shortened(name: str) -> str:
    """A long name by its two ends: those of one tree of classes begin alike."""
    if len(name) <= MOST_LETTERS:
        return name
    tail = MOST_LETTERS // 2
    return f"{name[: MOST_LETTERS - tail - 1].rstrip()}…{name[-tail:].lstrip()}"


def _pairs(wrong: npt.NDArray[np.int64], classes: tuple[str, ...]) -> Markup:
    count = min(MOST_PAIRS, int((wrong > 0).sum()))
    if not count:
        return join()
    flat = np.argpartition(-wrong.reshape(-1), count - 1)[:count]
    flat = flat[np.argsort(-wrong.reshape(-1)[flat], kind="stable")]
    rows = []
    for true, predicted in zip(*np.unravel_index(flat, wrong.shape), strict=True):
        cells = [tag("td", classes[true]), tag("td", classes[predicted]), tag("td", f"{wrong[true, predicted]:,}", class_="n")]
        rows.append(tag("tr", *cells))
    heads = tag("tr", tag("th", "true"), tag("th", "predicted"), tag("th", "items", class_="n"))
    return join(tag("h3", "Most frequent mistakes"), tag("div", tag("table", tag("thead", heads), tag("tbody", *rows)), class_="wide"))
