"""What a set leaves for those who come without this program: hints for web servers' readers, and its page. After each change."""

from __future__ import annotations

from collections.abc import Collection

from storage.card_page import leave_page
from storage.expected_versions import Hint
from storage.hints import leave_hints
from storage.names import SetName


def announce(name: SetName, removed_tags: Collection[str] = (), told: Hint = Hint()) -> None:
    """Neither of them counts: what cannot be written is only told. told: what is lost, of which readers are to know."""
    leave_hints(name, removed_tags, told=told)
    leave_page(name)
