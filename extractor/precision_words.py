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
    return f"{precision}: {cosine} of {cost['images']} images; {cost['times_as_fast']:.1f} times as fast a forward pass"
