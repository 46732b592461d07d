"""`permafrost store copy`: a set, version or tag to another store."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from scripts.console import human_bytes, print_json, print_pairs, progress
from storage.names import parse_set
from storage.transfer import copy_set

EXIT_LOST = 3


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "copy a set, or one version or tag of it, to another store; what is there is not sent again, and a copy cut off goes on"
    example = "example: permafrost store copy features/me/photos@prod s3://features/me/photos"
    description = f"{text}. Exit code 3: something is lost in the source, and is named; all else was copied."
    action = actions.add_parser("copy", help=text, description=description, epilog=example)
    action.add_argument("source", metavar="ROOT/TEAM/SET[@VERSION|@TAG|@DATE]", help="without '@' all versions and tags")
    action.add_argument("target", metavar="ROOT/TEAM/SET", help="the copy: a new set, or one that is such a copy already")
    action.add_argument("--json", action="store_true", help="print one JSON document")
    action.set_defaults(run=run, goes_on=True)


def run(args: argparse.Namespace) -> int:
    source, target = parse_set(args.source), parse_set(args.target)
    with progress("copying", "comparing") as show:
        done = copy_set(source, target, show)
    if args.json:
        print_json({"source": str(source), "target": str(target), **asdict(done)})
        return EXIT_LOST if done.lost else 0
    print_pairs(
        [
            ("copy", target),
            ("versions", f"{', '.join(map(str, done.versions))} ({len(done.new_versions)} new)"),
            *([("tags", ", ".join(done.tags))] if done.tags else []),
            ("files", f"{done.copied} copied ({human_bytes(done.bytes)}), {done.skipped} were there"),
            *([("lost", ", ".join(done.lost))] if done.lost else []),
        ]
    )
    if done.lost:
        print(
            "\nwhat is lost is missing in the copy, too: mend the set with `permafrost store repair` and copy again, or let it go in both"
        )
    return EXIT_LOST if done.lost else 0
