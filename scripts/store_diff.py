"""`permafrost store diff`: what is different between two versions."""

from __future__ import annotations

import argparse
from itertools import chain, islice
from typing import Any

import storage
from scripts.console import print_json, print_pairs, print_table
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from storage.names import SetName, parse_set
from storage.place import same_place
from storage.version_diff import KINDS, VersionDiff, diff_versions

SHOWN = 20


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "items added, removed, changed, renamed and relabelled between two versions"
    example = "example: permafrost store diff features/me/photos@6 features/me/photos@7"
    action = actions.add_parser("diff", help=text, description=text, epilog=example)
    action.add_argument("old", metavar="ROOT/TEAM/SET@VERSION", help="a version, tag or date")
    action.add_argument("new", metavar="ROOT/TEAM/SET[@VERSION]", nargs="?", help="another one, also of another set; the set's newest")
    action.add_argument("--all", action="store_true", help=f"print all changes, not the first {SHOWN}")
    action.add_argument("--json", action="store_true", help="print one JSON document")
    action.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    old = parse_set(args.old)
    if not args.new and not old.at:
        raise UsageError(f"{args.old} without '@' is the newest version: expected an older one, or a second set")
    before, now = storage.open(args.old), storage.open(args.new or str(SetName(old.root, old.team, old.name)))
    found = diff_versions(before, now)
    of_one_store = same_place(before.name.root, now.name.root)
    sides = {side: _named(each, of_one_store) for side, each in (("old", before), ("new", now))}
    if args.json:
        print_json({**sides, "counts": found.counts, "changes": [_plain(row) for row in _rows(found, None if args.all else SHOWN)]})
        return 0
    print_pairs([*sides.items(), *((kind, f"{count:>9,}  {KINDS[kind]}") for kind, count in found.counts.items())])
    total, limit = sum(found.counts.values()), None if args.all else SHOWN
    if total:
        print()
        print_table(["change", "corpus", "key", "detail"], [_told(row) for row in _rows(found, limit)])
    if limit and total > limit:
        print(f"... and {total - limit:,} more: --all")
    return 0


def _named(feature_set: FeatureSet, of_one_store: bool) -> str:
    name = feature_set.name
    return f"{f'{name.team}/{name.name}' if of_one_store else name.folder}@{feature_set.version}"


def _rows(found: VersionDiff, limit: int | None) -> list[dict[str, Any]]:
    return list(islice(chain.from_iterable(block.to_pylist() for block in found.changes.blocks()), limit))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}


def _told(row: dict[str, Any]) -> tuple[str, str, str, str]:
    detail = ""
    if row["change"] == "renamed":
        detail = f"was {row['old_key']}"
    elif row["change"] == "relabelled":
        said = [f"{name} {row[f'old_{name}']} -> {row[name]}" for name in ("label", "split") if row[name] != row[f"old_{name}"]]
        detail = ", ".join(said)
    return row["change"], row["corpus"], row["key"] if row["key"] is not None else row["old_key"], detail
