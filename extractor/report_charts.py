"""The charts of the report's page: throughput as SVG, shares as bars. Labels are HTML, so that they keep their size on any screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from extractor.html import Markup, join, tag

MAX_BINS = 60
_WIDTH, _HEIGHT = 600, 100  # of the SVG's own coordinates; it is stretched to its place


def rates(points: Sequence[Sequence[float]], column: int, workers: int) -> tuple[float, list[float]]:
    """(seconds a bin, amount a second in each bin) of a rising sum, straight between its points.

    Workers that began together also finish together: bins hold about a unit of each worker, or the rate would be spikes.
    """
    end = points[-1][0]
    if end <= 0:
        return 0.0, []
    bins = max(1, min(MAX_BINS, (len(points) - 1) // workers))
    sums = [_sum_at(points, column, end * i / bins) for i in range(bins + 1)]
    return end / bins, [(after - before) * bins / end for before, after in pairwise(sums)]


def _sum_at(points: Sequence[Sequence[float]], column: int, seconds: float) -> float:
    for before, after in pairwise(points):
        if after[0] >= seconds:
            span = after[0] - before[0]
            return before[column] + (after[column] - before[column]) * ((seconds - before[0]) / span if span else 1.0)
    return points[-1][column]


def rate_chart(title: str, values: Sequence[float], bin_seconds: float, unit: str, class_: str = "") -> Markup:
    """Bars over time with the mean as a dashed line; two cells of a `.chart` grid."""
    top = round_up(max(values))
    width = _WIDTH / len(values)
    bars = []
    for i, value in enumerate(values):
        height = _HEIGHT * value / top
        told = f"{seconds_told(i * bin_seconds)} to {seconds_told((i + 1) * bin_seconds)}: {value:,.1f} {unit}"
        place = {"x": f"{i * width:.2f}", "y": f"{_HEIGHT - height:.2f}", "width": f"{width * 0.92:.2f}", "height": f"{height:.2f}"}
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
    """The next of 1, 2, 5, 10, 20, ... at or above `value`; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def seconds_told(seconds: float) -> str:
    """49.6 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes} min {left:02d} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
