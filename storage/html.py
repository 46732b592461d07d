"""HTML by construction: every text is escaped, because only `tag` and `join` make Markup."""

from __future__ import annotations

import html


class Markup(str):
    """Finished HTML, as opposed to text."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """`<name attributes>children</name>`; children that are no Markup are text. `class_` and `_` in names: class, `-`."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{_escape(str(value))}"' for key, value in attributes.items())
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    return Markup("".join(child if isinstance(child, Markup) else _escape(child) for child in children))


def _escape(text: str) -> str:
    """Escaped, and what cannot be seen made visible: control characters, text that runs backwards, lone surrogates."""
    return html.escape("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))
