"""Days and times as they may stand behind '@' in the name of a set."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time

_BEGINS_LIKE_A_DAY = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}(?![0-9])")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def looks_like_moment(text: str) -> bool:
    """Also one that there is not, such as 2026-13-45, which nobody must take for a day."""
    return _BEGINS_LIKE_A_DAY.match(text) is not None


def moment_of(text: str) -> datetime | None:
    """The last moment of a day, such as 2026-11-30, or an ISO 8601 time, such as 2026-11-30T12:00 or 20261130T120000Z; None for other text.

    In UTC where no offset is given.
    """
    try:
        if _DAY.fullmatch(text):
            return datetime.combine(datetime.fromisoformat(text), time.max, UTC)
        moment = datetime.fromisoformat(text) if "T" in text and text[:1].isdigit() else None
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC) if moment else None
