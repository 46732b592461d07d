"""`permafrost store tag`: movable names for versions."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict

from scripts.console import print_json, print_table, warn
from storage.errors import UsageError
from storage.expected_versions import hinted_tags
from storage.feature_set import read_description
from storage.names import parse_set
from storage.store import require_store
from storage.tags import move_tag, remove_tag
from storage.versions import look_through_tags


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "let a tag mean a version, list the tags of a set, or remove one"
    example = "example: permafrost store tag features/me/photos@7 prod"
    action = actions.add_parser("tag", help=text, description=text, epilog=example)
    action.add_argument("target", metavar="ROOT/TEAM/SET[@VERSION|@TAG|@DATE]", help="the version that the tag is to mean; the newest")
    action.add_argument("tag", metavar="TAG", nargs="?", help="the tag, new or not; without it the tags are listed")
    action.add_argument("--delete", action="store_true", help="remove the tag; its version stays")
    action.add_argument("--json", action="store_true", help="print one JSON document")
    action.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    name = parse_set(args.target)
    require_store(name.root)
    read_description(name)
    if args.delete:
        if not args.tag or name.at:
            raise UsageError("expected a set without '@' and the tag to remove, such as: store tag features/me/photos prod --delete")
        remove_tag(name, args.tag)
    elif args.tag:
        move_tag(name, args.tag)
    elif name.at:
        raise UsageError(f"{args.target}: expected the tag that is to mean it, such as: store tag {args.target} prod")
    tags, damaged = look_through_tags(name)
    warn_of_tags(damaged)
    lost = sorted({*hinted_tags(name)} - {tag.name for tag in tags} - {*damaged})
    if lost:
        warn(f"tags that are lost: {', '.join(lost)}; `permafrost store repair {name} --from ROOT` takes them from a copy of the store")
    if args.json:
        print_json({"set": f"{name.team}/{name.name}", "tags": [asdict(tag) for tag in tags], "lost": lost, "damaged": damaged})
    else:
        print_table(["tag", "version", "moved"], [(tag.name, tag.version, tag.moved) for tag in tags])
    return 0


def warn_of_tags(damaged: Mapping[str, str]) -> None:
    """damaged: by tag, why it cannot be read, and the way out."""
    for why in damaged.values():
        warn(why)
