"""`permafrost store card`: whose a set is, what it is, under which licence; and its page."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from scripts.card_options import add_card_options, card_texts
from scripts.console import print_json
from storage.card import read_card, set_card
from storage.card_page import FILE, leave_page, page_of
from storage.names import parse_set
from storage.store import require_store


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "say whose a set is, what it is and under which licence, and print its page"
    example = "example: permafrost store card features/me/photos --owner 'team search' --licence cc-by-4.0"
    action = actions.add_parser("card", help=text, description=f"{text[0].upper()}{text[1:]}, which lies in it as {FILE}.", epilog=example)
    action.add_argument("target", metavar="ROOT/TEAM/SET")
    add_card_options(action)
    action.add_argument("--json", action="store_true", help="print one JSON document")
    action.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    name, texts = parse_set(args.target), card_texts(args)
    require_store(name.root)
    if texts:
        set_card(name, **texts)
        leave_page(name)
    if args.json:
        print_json({"set": args.target, "card": asdict(read_card(name))})
    else:
        print(page_of(name), end="")
    return 0
