"""The charts of the report's page: throughput as SVG, shares as bars. Labels are HTML, so that they keep their size on any screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from storage.html import Markup, join, tag
from storage.sizes import human_seconds

BINS = 60
_WIDTH, _HEIGHT = 600, 100  # of the SVG's own coordinates; it is stretched to its place


def rates(points: Sequence[Sequence[float]], column: int) -> list[float]:
    """Amount a second in each of BINS equal parts of the time, of points as in Throughput.to_dict.

    What a point adds is spread evenly from its `since` to its `seconds`: workers that began together also finish together, so that
    finished units alone would be spikes.
    """
    width = max(points[-1][0], 1e-3) / BINS
    found = [0.0] * BINS
    for before, after in pairwise(points):
        end = max(after[0], width / 2)
        since = min(after[4], end - width / 2)
        rate = (after[column] - before[column]) / (end - since)
        for i in range(max(0, int(since / width)), min(BINS, math.ceil(end / width))):
            found[i] += rate * max(0.0, min(end, (i + 1) * width) - max(since, i * width)) / width
    return found


def rate_chart(title: str, values: Sequence[float], bin_seconds: float, unit: str, class_: str = "") -> Markup:
    """Bars over time with the mean as a dashed line; two cells of a `.chart` grid."""
    top = round_up(max(values))
    width = _WIDTH / len(values)
    bars = []
    for i, value in enumerate(values):
        height = _HEIGHT * value / top
        told = f"{human_seconds(i * bin_seconds)} to {human_seconds((i + 1) * bin_seconds)}: {value:,.1f} {unit}"
        place = {"x": f"{i * width:g}", "y": f"{_HEIGHT - height:.2f}", "width": f"{width:g}", "height": f"{height:.2f}"}
        bars.append(tag("rect", tag("title", told), class_=f"fill {class_}", **place))
    mean = sum(values) / len(values)
    y = f"{_HEIGHT - _HEIGHT * mean / top:.2f}"
    line = tag("line", tag("title", f"mean {mean:,.1f} {unit}"), x1=0, x2=_WIDTH, y1=y, y2=y)
    label = f"{title}: mean {mean:,.1f}, highest {max(values):,.1f} {unit}"
    svg = tag("svg", *bars, line, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", preserveAspectRatio="none", role="img", aria_label=label)
    heading = tag("h3", f"{title} ", tag("small", f"mean {mean:,.1f} {unit}, dashed"), style="grid-column: 1 / 3")
    scale = tag("div", tag("span", f"{top:g}"), tag("span", "0"), class_="scale")
    return join(heading, scale, tag("div", svg, class_=class_))


def share_bar(parts: Sequence[tuple[str, str, float]]) -> Markup:
    """(label, class, amount) side by side, in proportion."""
    total = sum(amount for _, _, amount in parts)
    spans = [
        tag("span", class_=class_, style=f"flex: {amount / total:.5f} 0 0", title=f"{label}: {amount / total:.1%}")
        for label, class_, amount in parts
        if amount > 0
    ]
    return tag("div", *spans, class_="bar")


def round_up(value: float) -> float:
    """The next round number at or above `value`: 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * (1 - 1e-9))
