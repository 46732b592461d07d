"""The report's sections on items: the worst mistakes, doubtful labels, near-duplicates; with pictures where there are some."""

from __future__ import annotations

from collections.abc import Sequence

from storage.html import Markup, join, tag
from trainer.report_charts import MOST_COLOURS, colour, data_uri
from trainer.report_data import Report, ShownItem


def mistakes_section(report: Report) -> Markup:
    wrong = int((~report.evaluation.right).sum())
    if not wrong:
        return tag("section", tag("h2", "Worst mistakes"), tag("p", "There is none.", class_="soft"))
    said = f"The {len(report.mistakes)} of {wrong:,} with the highest loss: the true class, and what was predicted."
    return tag("section", tag("h2", "Worst mistakes"), tag("p", said), _grid(report.mistakes, "is", "predicted"))


def errors_section(report: Report) -> Markup:
    heading = tag("h2", "Likely label errors")
    if report.errors is None:
        why = "Not told: they need probabilities of one class an item, from a head that has not seen the items."
        return tag("section", heading, tag("p", why, class_="soft"))
    if not report.errors:
        return tag("section", heading, tag("p", "None was found.", class_="soft"))
    said = f"{report.error_count:,} of {report.doubted_rows:,} items, by confident learning (Northcutt et al. 2021); look at these first."
    return tag("section", heading, tag("p", said), _grid(report.errors, "labelled", "rather"))


def duplicates_section(report: Report) -> Markup:
    near = report.near
    if near is None:
        return join()
    heading = tag("h2", "Near-duplicates across splits")
    said = (
        f"Of {near.rows:,} {report.shown} images looked at, {len(near.pairs):,} have a training image at cosine {near.threshold:g} or above"
    )
    said += f"; {near.same:,} are in training themselves." if near.same else "."
    return tag("section", heading, tag("p", said), _grid(report.duplicates, "", "like"))


def map_legend(classes: Sequence[str]) -> Markup:
    if len(classes) > MOST_COLOURS:
        return tag("p", f"{len(classes):,} classes: too many for colours; a point tells its own.", class_="soft")
    marks = [tag("span", tag("i", style=f"background:{colour(i, len(classes))}"), name) for i, name in enumerate(classes)]
    return tag("div", *marks, class_="legend")


def _grid(items: Sequence[ShownItem], is_: str, other: str) -> Markup:
    return tag("ul", *[tag("li", *_item(item, is_, other)) for item in items], class_="items")


def _item(item: ShownItem, is_: str, other: str) -> list[Markup]:
    shown = [(item.picture, item.key), (item.other_picture, item.other)]
    pictures = [Markup(_image(picture, key)) for picture, key in shown if picture]
    said, key = tag("small", item.said), tag("code", item.key)
    if not item.label:  # a pair of items, by their keys
        return [*pictures, said, tag("div", key), tag("div", f"{other} ", tag("code", item.other))]
    return [*pictures, tag("div", f"{is_} ", tag("b", item.label)), tag("div", f"{other} ", tag("em", item.other)), said, key]


def _image(jpeg: bytes, key: str) -> Markup:
    whole = tag("img", alt=key, src=data_uri(jpeg), width=96, height=96)
    return Markup(whole.removesuffix("</img>"))
