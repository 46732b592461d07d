"""`permafrost store init`: make a store, and try what it must guarantee."""

from __future__ import annotations

import argparse

from scripts.console import print_json, print_pairs
from storage.names import parse_root
from storage.store import init_store


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "make a store, which for a bucket comes before its first extraction, and try whether several writers are safe in it"
    action = actions.add_parser("init", help=text, description=text, epilog="example: permafrost store init s3://features/main")
    action.add_argument("target", metavar="ROOT", help="a folder, or a bucket with or without a prefix: s3://, gs://, az://")
    action.add_argument("--json", action="store_true", help="print one JSON document")
    action.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    root = parse_root(args.target)
    description = init_store(root)
    if args.json:
        print_json({"store": str(root), **description})
    else:
        print_pairs(
            [("store", root), ("kind", description["backend"]["kind"]), ("several writers", "safe: a name cannot be created twice")]
        )
    return 0
