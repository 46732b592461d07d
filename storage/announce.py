"""What a set leaves for those who come without this program: hints for web servers' readers, and its page. After each change."""

from __future__ import annotations

from collections.abc import Collection

from storage.card_page import leave_page
from storage.hints import leave_hints
from storage.names import SetName


def announce(name: SetName, removed_tags: Collection[str] = ()) -> None:
    """Neither of them counts: what cannot be written is only told."""
    leave_hints(name, removed_tags)
    leave_page(name)
