"""What `bench_extract` found, in a table: rates, the limit, and ours beside each peer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RATES = ("images_per_second", "images_per_cpu_second")
BASE = "model.predict, float32"


def table(found: Mapping[str, Any]) -> str:
    what = (
        f"{found['backbone']} ({found['weights']}), {found['images']} images, {found['cores']} cores, medians of {found['rounds']} rounds"
    )
    head = f"{'':34} {'images/s':>9} {'ratio':>6} {'a CPU s':>9} {'ratio':>6} {'whole s':>8} {'CPU s':>7}"
    rows = [_row(name, rates, found["ways"].get(BASE)) for name, rates in found["ways"].items()]
    alone = [_row(f"alone: {name}", rates, None) for name, rates in found["alone"].items()]
    compared = [f"{name:64} {clock:6.2f} by the clock, {cpu:6.2f} in CPU seconds" for name, (clock, cpu) in comparisons(found).items()]
    left = [f"left out, not installed: {name}" for name in found["left_out"]]
    return "\n".join([what, head, *rows, *alone, *compared, *left])


def comparisons(found: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Of ours to the limit of its stages, and to each peer: by the clock and in CPU seconds."""
    ours = {name: found["ways"][name] for name in found["engines"]}
    peers = {name: rates for name, rates in found["ways"].items() if name not in ours}
    compared = {}
    for name, rates in ours.items():
        if found["engines"][name] in found["alone"]:
            compared[f"{name} / what the stages allow"] = _ratio(rates, limit(found["alone"], found["engines"][name]))
        compared |= {f"{name} / {peer}": _ratio(rates, theirs) for peer, theirs in peers.items()}
    return compared


def limit(alone: Mapping[str, Mapping[str, float]], engine: str) -> dict[str, float]:
    """Engine and decoding one after the other, as they are where they share the cores."""
    return {rate: 1 / (1 / alone[engine][rate] + 1 / alone["decoding"][rate]) for rate in RATES}


def _ratio(ours: Mapping[str, float], theirs: Mapping[str, float]) -> tuple[float, float]:
    clock, cpu = (ours[rate] / theirs[rate] for rate in RATES)
    return clock, cpu


def _row(name: str, rates: Mapping[str, float], base: Mapping[str, float] | None) -> str:
    numbers = []
    for rate in RATES:
        ratio = f"{rates[rate] / base[rate]:6.2f}" if base else " " * 6
        numbers.append(f"{rates[rate]:9.1f} {ratio}")
    whole = f" {rates['whole_seconds']:8.1f} {rates['whole_cpu_seconds']:7.1f}" if "whole_seconds" in rates else ""
    return f"{name:34} {' '.join(numbers)}{whole}"
