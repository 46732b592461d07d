"""The options that say whose a set is: of `extract`, which makes it, and of `store card`, which changes them later."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.words import any_text
from storage.errors import NotFoundError

TEXTS = ("owner", "description", "licence")


def add_card_options(group: argparse._ActionsContainer) -> None:
    group.add_argument("--owner", type=any_text, metavar="TEXT", help="a person or team to ask")
    group.add_argument(
        "--description", type=any_text, metavar="TEXT", help="what the images are and what the set is for, in Markdown; @FILE reads a file"
    )
    group.add_argument("--licence", type=any_text, metavar="TEXT", help="under which the features may be used, such as cc-by-4.0")


def card_texts(args: argparse.Namespace) -> dict[str, str]:
    """Those that were given. Raises NotFoundError."""
    return {name: _text(getattr(args, name)) for name in TEXTS if getattr(args, name) is not None}


def _text(given: str) -> str:
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFoundError(f"no text in {given[1:]}: {error}") from None
