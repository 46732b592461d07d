"""The charts of the report's page as SVG: curves over epochs, reliability, the candidates of a sweep, the map of the embeddings."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

from storage.html import Markup, join, tag
from trainer.calibration import Calibration
from trainer.report_data import MapPoint

WIDTH, HEIGHT, LEFT, BOTTOM = 520, 220, 44, 22
MOST_COLOURS = 20
MOST_RANKS = 24  # of a sweep that are told beside the points: the best
LETTER = 11  # pixels


def curves(series: Mapping[str, Sequence[float]]) -> Markup:
    """Lines over epochs, of one or two series by name; numbers that are none are left out."""
    finite = [value for values in series.values() for value in values if math.isfinite(value)]
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0
    longest = max(len(values) for values in series.values())
    lines = []
    for class_, values in zip("ab", series.values(), strict=False):
        places = [
            f"{_x(i / max(1, longest - 1)):.1f},{_y((value - low) / span):.1f}" for i, value in enumerate(values) if math.isfinite(value)
        ]
        lines.append(tag("polyline", points=" ".join(places), class_=class_))
    svg = _chart(lines, [f"{low:.3g}", f"{high:.3g}"], ["1", f"epoch {longest}"], ", ".join(series))
    return join(svg, _legend([(name, class_) for class_, name in zip("ab", series, strict=False)]))


def reliability(plain: Calibration, scaled: Calibration | None) -> Markup:
    """How often what was said with some probability was so; on the dashed line it is as often as was said."""
    marks = [tag("line", x1=_x(0), y1=_y(0), x2=_x(1), y2=_y(1), class_="dash")]
    for class_, found in (("a", plain), ("b", scaled)):
        if found:
            marks += _reliability_line(found, class_)
    svg = _chart(marks, ["0", "1"], ["said 0%", "said 100%"], "reliability diagram")
    names = [("as it is", "a"), *([(f"divided by temperature {scaled.temperature:.3g}", "b")] if scaled else [])]
    return join(svg, _legend(names))


def _reliability_line(found: Calibration, class_: str) -> list[Markup]:
    bins = [(n, s / n, t / n) for n, s, t in zip(found.counts.tolist(), found.stated.tolist(), found.true.tolist(), strict=True) if n]
    most = max((n for n, _, _ in bins), default=1)
    line = tag("polyline", points=" ".join(f"{_x(s):.1f},{_y(t):.1f}" for _, s, t in bins), class_=class_)
    dots = []
    for n, said, so in bins:
        words = tag("title", f"{n:,} said {said:.1%}, so {so:.1%}")
        dots.append(tag("circle", words, cx=f"{_x(said):.1f}", cy=f"{_y(so):.1f}", r=f"{2 + 5 * (n / most) ** 0.5:.1f}", class_=class_))
    return [line, *dots]


def sweep_plot(candidates: Sequence[Mapping[str, Any]]) -> Markup:
    """Validation of candidates, best first, with interval and rank: over log10 c where these differ, else in order."""
    told = [
        (candidate, candidate["validation"]["mean"], rank)
        for rank, candidate in enumerate(candidates, 1)
        if math.isfinite(candidate["validation"]["mean"])
    ]
    if not told:
        return tag("p", "No candidate has a number.", class_="soft")
    strengths = [candidate.get("c") for candidate, _, _ in told]
    by_c = all(isinstance(c, (int, float)) and c > 0 for c in strengths) and len(set(strengths)) > 1
    if not by_c:
        told.reverse()
    xs = [math.log10(candidate["c"]) if by_c else float(i) for i, (candidate, _, _) in enumerate(told)]
    lows = [candidate["validation"].get("low", mean) for candidate, mean, _ in told]
    highs = [candidate["validation"].get("high", mean) for candidate, mean, _ in told]
    low, high, left, right = min(lows), max(highs), min(xs), max(xs)
    marks: list[Markup] = []
    ranks: dict[tuple[float, float], list[int]] = {}  # of points that lie together, by their place
    for (candidate, mean, rank), x, least, most in zip(told, xs, lows, highs, strict=True):
        place = f"{_x((x - left) / ((right - left) or 1.0)):.1f}"
        heights = [_y((value - low) / ((high - low) or 1.0)) for value in (least, mean, most)]
        words = ", ".join(
            f"{name} {value}" for name, value in candidate.items() if name != "validation" and value not in (None, "", [], ())
        )
        marks.append(tag("line", x1=place, x2=place, y1=f"{heights[0]:.1f}", y2=f"{heights[2]:.1f}", class_="a"))
        marks.append(tag("circle", tag("title", f"{mean:.4f}: {words}"), cx=place, cy=f"{heights[1]:.1f}", r=3.5, class_="a"))
        if rank <= MOST_RANKS:
            ranks.setdefault((float(place), heights[1] // LETTER * LETTER), []).append(rank)
    marks += [_rank_text(x, y, found) for (x, y), found in ranks.items()]
    ends = [f"c {10**left:.3g}", f"{10**right:.3g}"] if by_c else ["worst", "best"]
    return _chart(marks, [f"{low:.3f}", f"{high:.3f}"], ends, "candidates of the sweep")


def _rank_text(x: float, y: float, ranks: Sequence[int]) -> Markup:
    """Beside the points, where the chart has more room."""
    shown = ", ".join(map(str, sorted(ranks)))
    place = {"x": f"{x - 7:.1f}", "text_anchor": "end"} if x > WIDTH / 2 else {"x": f"{x + 7:.1f}"}
    return tag("text", shown, y=f"{y + LETTER * 0.8:.1f}", **place)


def embedding_plot(points: Sequence[MapPoint], classes: Sequence[str]) -> Markup:
    """Items by the two main directions; pictures, where there are some, are shown with a tick of the box."""
    size, dots, pictures = 560, [], []
    for point in points:
        x, y = 10 + point.x * (size - 20), 10 + (1 - point.y) * (size - 20)
        label = classes[point.label] if point.label >= 0 else "none"
        words = tag("title", f"{label}: {point.key}" + ("" if point.is_right else " (predicted wrong)"))
        place = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": 3.2, "style": f"fill:{colour(point.label, len(classes))}"}
        dots.append(tag("circle", words, **place, class_="" if point.is_right else "wrong"))
        if point.picture:
            pictures.append(tag("image", words, x=f"{x - 18:.1f}", y=f"{y - 18:.1f}", width=36, height=36, href=data_uri(point.picture)))
    frame = tag("rect", x=0.5, y=0.5, width=size - 1, height=size - 1, class_="frame")
    svg = tag("svg", frame, *dots, *pictures, viewBox=f"0 0 {size} {size}", role="img", aria_label="map of the embeddings")
    box = join(Markup('<input type="checkbox" id="pictures" checked> '), tag("label", "pictures", for_="pictures")) if pictures else join()
    return join(box, svg)


def colour(number: int, classes: int) -> str:
    """Of a class, around the circle of hues; neighbours in number lie apart. Grey where colours could not be told from each other."""
    if number < 0 or classes > MOST_COLOURS:
        return "hsl(215 12% 55%)"
    turn = (number * (360 / max(1, classes)) * (1 if classes < 5 else next(k for k in (2, 3, 5, 7) if math.gcd(k, classes) == 1))) % 360
    return f"hsl({turn:.0f} 62% {46 if number % 2 else 58}%)"


def data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _chart(marks: Sequence[Markup], y_ends: Sequence[str], x_ends: Sequence[str], label: str) -> Markup:
    frame = tag("rect", x=LEFT, y=8, width=WIDTH - LEFT - 8, height=HEIGHT - BOTTOM - 8, class_="grid")
    texts = [
        tag("text", y_ends[1], x=LEFT - 6, y=17, text_anchor="end"),
        tag("text", y_ends[0], x=LEFT - 6, y=HEIGHT - BOTTOM, text_anchor="end"),
        tag("text", x_ends[0], x=LEFT, y=HEIGHT - 6),
        tag("text", x_ends[1], x=WIDTH - 8, y=HEIGHT - 6, text_anchor="end"),
    ]
    return tag("svg", frame, *marks, *texts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label)


def _legend(names: Sequence[tuple[str, str]]) -> Markup:
    return tag("div", *[tag("span", tag("i", class_=f"i{class_}"), name) for name, class_ in names], class_="legend")


def _x(share: float) -> float:
    return LEFT + 4 + share * (WIDTH - LEFT - 16)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - 4 - share * (HEIGHT - BOTTOM - 16)
