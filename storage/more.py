"""The rest of what a message names the first of."""

from __future__ import annotations

from collections.abc import Sized


def and_more(names: Sized) -> str:
    """Such as ` and 3 more`; empty where there is only one."""
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def nor_more(names: Sized) -> str:
    """After what is not there, such as `, nor 3 more of the keys`."""
    return f", nor {len(names) - 1} more of the keys" if len(names) > 1 else ""
