"""The report as a page for people: a pure function from a Report to one HTML file without scripts or outside resources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite

from storage.html import Markup, join, tag
from trainer.evaluate import Evaluation
from trainer.report_charts import curves, embedding_plot, reliability, sweep_plot
from trainer.report_classes import classes_section, confusion_section
from trainer.report_data import Report
from trainer.report_items import duplicates_section, errors_section, map_legend, mistakes_section
from trainer.report_style import STYLE
from trainer.slices import Slice

# Were a text to get through unescaped after all, the browser would still run nothing and ask nobody.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
MOST_SLICES = 50  # of a column
MOST_CANDIDATES = 100  # of a sweep, in its table
_NUMBERS = {
    "accuracy": "accuracy",
    "mean_average_precision": "mAP",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "subset_accuracy": "all classes of an item right",
    "log_loss": "log loss",
}


def render(report: Report) -> str:
    """The whole page."""
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><link rel="icon" href="data:,">'),
        tag("title", report.title),
        tag("style", Markup(STYLE)),
    )
    sections = (_numbers, _notes, _splits, _comparison, _drift, _curves, _sweep, _calibration, classes_section, confusion_section)
    further = (mistakes_section, errors_section, duplicates_section, _slices, _map, _facts)
    body = tag("body", tag("main", _header(report), *[section(report) for section in (*sections, *further)], _footer()))
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _header(report: Report) -> Markup:
    return tag("header", tag("h1", report.title), tag("p", " · ".join(value for _, value in report.facts[:2])))


def _numbers(report: Report) -> Markup:
    described, evaluation = report.evaluation.to_dict(), report.evaluation
    figures = []
    for name, label in _NUMBERS.items():
        if name in described and not (name == "micro_f1" and isinstance(evaluation, Evaluation)):
            figures.append(_figure(label, described[name], evaluation.intervals.get(name)))
    if isinstance(evaluation, Evaluation):
        figures += [
            _figure(f"top-{k} accuracy", evaluation.top_accuracy(k), evaluation.intervals.get(f"top_{k}_accuracy")) for k in evaluation.tops
        ]
    figures.append(_figure("calibration error (ECE)", evaluation.calibration.ece, None))
    heading = f"On {report.shown}: {evaluation.rows:,} items"
    note = "Beneath each number: where it lies in 95% of bootstrap resamples of the items."
    return tag("section", tag("h2", heading), tag("dl", *figures, class_="figures"), tag("p", note, class_="soft"))  # fmt: skip


def _figure(name: str, value: float, interval: Sequence[float] | None) -> Markup:
    told = [tag("small", f"{interval[0]:.3f} to {interval[1]:.3f}")] if interval else []
    return tag("div", tag("dt", name), tag("dd", f"{value:.3f}", *told))


def _notes(report: Report) -> Markup:
    if not report.warnings:
        return join()
    return tag("section", tag("h2", "Notes"), tag("ul", *[tag("li", text) for text in report.warnings], class_="notes"))


def _splits(report: Report) -> Markup:
    if len(report.evaluations) < 2:
        return join()
    names = list(report.evaluation.headline())
    rows = [
        [name, f"{evaluation.rows:,}", *(f"{value:.3f}" for value in evaluation.headline().values())]
        for name, evaluation in report.evaluations.items()
    ]
    note = "Validation was measured on the head before its refit on train and validation together."
    if not report.refitted:
        note = "The head was fitted on train alone, and chosen by validation."
    return tag(
        "section", tag("h2", "Splits"), table(["split", "#items", *(f"#{name}" for name in names)], rows), tag("p", note, class_="soft")
    )


def _comparison(report: Report) -> Markup:
    if not report.comparison:
        return join()
    name, found = report.comparison
    loss, loss_interval = found.loss_difference
    rows = [
        ["accuracy", f"{found.difference:+.4f}", f"{found.interval.low:+.4f} to {found.interval.high:+.4f}"],
        ["log loss", f"{loss:+.4f}", f"{loss_interval.low:+.4f} to {loss_interval.high:+.4f}"],
    ]
    counts = f"{len(found.only_first):,} items only this head has right, {len(found.only_second):,} only the other; McNemar's exact test: "
    return tag(
        "section",
        tag("h2", f"Against {name}"),
        tag("p", f"On the same {found.rows:,} items: {found.verdict('this head', name)}."),
        table(["", "#this minus the other", "#95% of paired resamples"], rows),
        tag("p", counts + f"p = {found.p_value:.2g}.", class_="soft"),
    )


def _drift(report: Report) -> Markup:
    drift = report.drift
    if not drift:
        return join()
    rows = [
        [what, f"{measured[0]:.3f}", f"{measured[1].low:.3f} to {measured[1].high:.3f}"]
        for what, measured in (
            (f"test items of version {drift.then}, when it was fitted", drift.accuracy_then),
            (f"items added since, up to version {drift.now}", drift.accuracy_added),
        )
        if measured
    ]
    moved = sorted(drift.class_shares.items(), key=lambda pair: -abs(pair[1][1] - pair[1][0]))[:12]
    shares = [[name, f"{before:.1%}", f"{after:.1%}", f"{after - before:+.1%}"] for name, (before, after) in moved]
    said = f"{drift.added:,} of {drift.rows:,} labelled items ({drift.share_added:.1%}) came since version {drift.then}. "
    if drift.mean_distance is not None:
        said += f"The mean of their features lies {drift.mean_distance:.3f} spreads of the known ones away."
    return tag(
        "section",
        tag("h2", f"Drift: version {drift.then} to {drift.now}"),
        tag("p", said),
        table(["accuracy on", "#", "#95%"], rows),
        *([tag("h3", "Shares of the classes"), table(["class", "#known items", "#added items", "#change"], shares)] if drift.added else []),
    )


def _curves(report: Report) -> Markup:
    pairs = list(_curve_pairs(report.history))
    if not pairs:
        return join()
    charts = [tag("div", tag("h3", name), curves(series), *_what_it_holds(name)) for name, series in pairs]
    return tag("section", tag("h2", "Learning curves"), tag("div", *charts, class_="side"))


def _what_it_holds(name: str) -> list[Markup]:
    """Of a loss, whose two curves do not measure the same."""
    words = (
        "train: what is minimised, with the penalty of the weights; validation: the loss of the items alone, which the epoch is chosen by"
    )
    return [tag("p", words, class_="soft")] if name == "loss" else []


def _curve_pairs(history: Mapping[str, Sequence[float]]) -> Iterator[tuple[str, dict[str, Sequence[float]]]]:
    """Each quantity with its training and validation values."""
    for name, values in history.items():
        if not name.startswith("val_") and len(values) > 1 and any(map(isfinite, values)):
            further = {"validation": history[f"val_{name}"]} if f"val_{name}" in history else {}
            yield name, {"train": values, **further}


def _sweep(report: Report) -> Markup:
    if not report.sweep:
        return join()
    names = [name for name in report.sweep[0] if name != "validation"]
    metric = str(report.sweep[0]["validation"].get("metric", "")).replace("_", " ")
    rows = [
        [f"{rank}", *(_option(candidate[name]) for name in names), *_validation(candidate["validation"])]
        for rank, candidate in enumerate(report.sweep[:MOST_CANDIDATES], 1)
    ]
    left = f"The best {MOST_CANDIDATES} of {len(report.sweep):,}; sweep.json has all. " if len(report.sweep) > MOST_CANDIDATES else ""
    note = f"{left}The numbers beside the points are those of the first column. The best was fitted again, and alone measured on test."
    return tag(
        "section",
        tag("h2", f"Sweep: {len(report.sweep):,} candidate{'s' * (len(report.sweep) != 1)}"),
        tag("p", f"Validation{f', {metric}' if metric else ''}, with 95% intervals over the seeds, best first."),
        sweep_plot(report.sweep),
        table(["#", *(name.replace("_", " ") for name in names), f"#{metric or 'validation'}", "#95%"], rows),
        tag("p", note, class_="soft"),
    )


def _option(value: object) -> str:
    """As the command line has it."""
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value)) or "none"
    return "none" if value in (None, "") else f"{value:g}" if isinstance(value, float) else str(value)


def _validation(found: Mapping[str, float]) -> list[str]:
    if not isfinite(found["mean"]):
        return ["none", ""]
    return [f"{found['mean']:.3f}", f"{found['low']:.3f} to {found['high']:.3f}" if found.get("high", 0) > found.get("low", 0) else ""]


def _calibration(report: Report) -> Markup:
    evaluation = report.evaluation
    rows = [["as it is", f"{evaluation.calibration.ece:.4f}", f"{evaluation.log_loss:.4f}"]]
    scaled = evaluation.scaled[0] if evaluation.scaled and evaluation.scaled[0].is_scaled else None
    if evaluation.scaled and scaled:
        found, loss = evaluation.scaled
        rows.append([f"logits divided by {found.temperature:.3g}, which validation asks for", f"{found.ece:.4f}", f"{loss:.4f}"])
    told = tag(
        "div", table(["", "#ECE, 15 bins", "#log loss"], rows), tag("p", "Above the line the head knows more than it says.", class_="soft")
    )
    return tag(
        "section",
        tag("h2", "Can its probabilities be believed?"),
        tag("div", tag("div", reliability(evaluation.calibration, scaled)), told, class_="side"),
    )


def _slices(report: Report) -> Markup:
    parts = []
    for column, found in report.slices.items():
        rows = [_slice_row(each) for each in found[:MOST_SLICES]]
        parts += [tag("h3", f"By {column}"), table(["value", "#items", "#accuracy", "#95%"], rows)]
        parts += [tag("p", f"The worst {MOST_SLICES} of {len(found):,}.", class_="soft")] if len(found) > MOST_SLICES else []
    return tag("section", tag("h2", "Slices"), *parts) if parts else join()


def _slice_row(each: Slice) -> list[str]:
    few = " (few items)" if each.is_small else ""
    return [each.value + few, f"{each.rows:,}", f"{each.accuracy:.3f}", f"{each.interval.low:.3f} to {each.interval.high:.3f}"]


def _map(report: Report) -> Markup:
    if len(report.points) < 2:
        return join()
    first, second = report.map_shares
    said = f"The two main directions (PCA) hold {first + second:.1%} of the variance. A red ring: predicted wrong."
    classes = report.evaluation.classes
    plot = tag("div", embedding_plot(report.points, classes), id="map")
    return tag("section", tag("h2", f"Map of the embeddings: {len(report.points):,} items"), tag("p", said), plot, map_legend(classes))


def _facts(report: Report) -> Markup:
    rows = [tag("tr", tag("th", name), tag("td", value)) for name, value in report.facts]
    return tag("section", tag("h2", "Head and data"), tag("table", tag("tbody", *rows)))


def _footer() -> Markup:
    return tag("footer", tag("p", "Permafrost. The same numbers as JSON: head.json, or the command with --json."))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Columns that begin with # are numbers."""
    kinds = ["n" if name.startswith("#") else "" for name in columns]
    heads = [tag("th", name.removeprefix("#"), class_=kind) for name, kind in zip(columns, kinds, strict=True)]
    body = [tag("tr", *[tag("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)]) for row in rows]
    return tag("div", tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body)), class_="wide")
