"""When versions were committed: each later than the one before it, whatever the clocks of their writers said.

So the newest version of a moment is told by times, as Delta Lake does it with its in-commit timestamps. A clock that was ahead once keeps
later versions ahead of the clock, too; it is told when that happens.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from storage.manifest import Manifest

logger = logging.getLogger(__name__)

STEP = timedelta(microseconds=1)
TOLD_SECONDS = 60.0  # clocks differ by less, and a commit that is made on top of a faster one is younger than its draft


def after_parent(manifest: Manifest, parent: Manifest | None) -> Manifest:
    """The manifest with a time that is later than its parent's."""
    if parent is None:
        return manifest
    before, now = datetime.fromisoformat(parent.created), datetime.fromisoformat(manifest.created)
    if now > before:
        return manifest
    if (before - now).total_seconds() > TOLD_SECONDS:
        logger.warning(
            "version %d is of %s, and the clock here says %s: one of the two clocks is wrong, and version %d is dated right after it",
            parent.version, parent.created, manifest.created, manifest.version,
        )  # fmt: skip
    return replace(manifest, created=(before + STEP).isoformat())


def commit_times(created: Mapping[int, str]) -> dict[int, datetime]:
    """By version, ascending, from what their manifests say. Versions that were made before times were put in order are none of them
    earlier than what they follow."""
    times: dict[int, datetime] = {}
    latest: datetime | None = None
    for version, text in sorted(created.items()):
        own = datetime.fromisoformat(text)
        times[version] = latest = own if latest is None or own > latest else latest
    return times
