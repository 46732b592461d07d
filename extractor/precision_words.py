"""What fewer bits gained and cost, in words. Imports no TensorFlow, because a Ray driver has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def cost_told(precision: str, cost: Mapping[str, Any]) -> str:
    """`bfloat16: cosine to float32 0.9941 at the least, 0.9987 at the median of 64 images; 1.5 times as fast a forward pass`, or such; or
    why it was left out."""
    if "left_out" in cost:
        return f"{precision}: {cost['left_out']}"
    cosine = f"cosine to float32 {cost['cosine_least']:.4f} at the least, {cost['cosine_median']:.4f} at the median"
    faster = f"{cost['times_as_fast']:.1f} times as fast a forward pass"
    return f"{precision}: {cosine} of {cost['images']} images; {faster}"


def head_told(precision: str, cost: Mapping[str, Any]) -> str:
    """`0.837 in bfloat16, 0.829 in float32, difference +0.008 (95%: +0.000 to +0.020), of a logistic head ...`; or why that is not known;
    nothing where nobody was asked."""
    head = cost.get("head")
    if head is None:
        return ""
    if "left_out" in head:
        return f"not known: {head['left_out']}"
    low, high = head["difference_interval"]
    both = f"{head['accuracy']:.3f} in {precision}, {head['accuracy_float32']:.3f} in float32"
    of_head = f"of a {head['head']} head fitted on {head['trained_on']} of these features, on {head['rows']} of the weighed images"
    return f"{both}, difference {head['difference']:+.3f} (95%: {low:+.3f} to {high:+.3f}), {of_head}"
