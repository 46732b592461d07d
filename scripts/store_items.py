"""`permafrost store remove` and `relabel`: changes of single items. `store import --append` and `--replace` are the others."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from scripts.console import print_json, print_pairs
from storage.changes import Changed, relabel, remove
from storage.errors import UsageError
from storage.flat_file import read_keys
from storage.table_file import cell_text, label_text, read_table_file


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "take items out of the newest version; older versions keep them"
    leave = _action(actions, "remove", text, "permafrost store remove features/me/photos --key dress/1.jpg")
    leave.add_argument("--key", action="append", default=[], metavar="K", help="of an item or reject; may be repeated")
    leave.add_argument("--keys", type=Path, metavar="FILE", help="keys, one a line")
    leave.set_defaults(run=run_remove)

    text = "give items other labels or splits; no embedding is touched"
    other = _action(actions, "relabel", text, "permafrost store relabel features/me/photos labels.csv")
    other.add_argument("labels", type=Path, metavar="FILE", help=".csv, .jsonl or .parquet with columns key, and label or split or both")
    other.set_defaults(run=run_relabel)


def _action(actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, example: str) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=text, description=text, epilog=f"example: {example}")
    action.add_argument("target", metavar="ROOT/TEAM/SET[@VERSION]", help="the version that the change is thought of (default: the newest)")
    action.add_argument("--corpus", metavar="ID", help="that has the keys, where several have")
    action.add_argument("--json", action="store_true", help="print one JSON document")
    return action


def run_remove(args: argparse.Namespace) -> int:
    keys = [*args.key, *(read_keys(args.keys) if args.keys else [])]
    if not keys:
        raise UsageError("expected the items to remove: --key K, or --keys FILE (a whole set leaves with `store rm`)")
    return _tell(remove(args.target, keys, corpus=args.corpus), "removed", args.json)


def run_relabel(args: argparse.Namespace) -> int:
    table = read_table_file(args.labels, "label file")
    if "key" not in table.column_names or not {"label", "split"} & set(table.column_names):
        raise UsageError(f"the label file {args.labels} should have the columns key, and label or split; it has {table.column_names}")
    rows = table.to_pylist()
    keys = [cell_text(row["key"]) for row in rows]
    if None in keys or len(set(keys)) != len(keys):
        raise UsageError(f"the label file {args.labels} should have each key once, and has {len(set(keys) - {None})} in {len(keys)} rows")
    texts = {"label": label_text, "split": cell_text}
    given = {
        f"{name}s": {str(key): as_text(row[name]) for key, row in zip(keys, rows, strict=True)}
        for name, as_text in texts.items()
        if name in table.column_names
    }
    return _tell(relabel(args.target, **given, corpus=args.corpus), "relabelled", args.json)


def _tell(changed: Changed, done: str, as_json: bool) -> int:
    if as_json:
        print_json(asdict(changed))
        return 0
    items = f"{changed.keys} items of corpus {changed.corpus}"
    told = items if changed.committed else f"nothing: version {changed.version} has {items} so already"
    print_pairs([("set", changed.set), ("version", changed.version), (done, told)])
    return 0
