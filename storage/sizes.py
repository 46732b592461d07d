"""Sizes and times in words."""

from __future__ import annotations


def human_bytes(size: float) -> str:
    """0 B, 512 B, 1.5 KiB, ... in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def human_seconds(seconds: float) -> str:
    """49.6 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes} min {left:02d} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
