"""Sizes in words."""

from __future__ import annotations


def human_bytes(size: float) -> str:
    """0 B, 512 B, 1.5 KiB, ... in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
