"""`permafrost store export`: one flat file of a version."""

from __future__ import annotations

import argparse
from pathlib import Path

import storage
from scripts.console import human_bytes, print_json, print_pairs
from scripts.words import local_path
from storage.export import LAYOUTS, export_set


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    action = actions.add_parser(
        "export",
        help="write a version as one flat file",
        description="Write keys, attributes, digests and embeddings of a version to one file: Parquet, HDF5 or npz by its ending.",
        epilog="example: permafrost store export features/me/photos photos.parquet",
    )
    action.add_argument("target", metavar="ROOT/TEAM/SET[@VERSION|@TAG]")
    action.add_argument("file", type=local_path, metavar="FILE", help="ends in .parquet, .h5 or .npz")
    layout_help = "of the embeddings in Parquet: binary (default) as in shards, list for tools that must see numbers (float32)"
    action.add_argument("--layout", choices=LAYOUTS, default="binary", help=layout_help)
    action.add_argument("--force", action="store_true", help="replace a file that is there")
    action.add_argument("--json", action="store_true", help="print one JSON document")
    action.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    exported = export_set(storage.open(args.target), Path(args.file), args.layout, args.force)
    if args.json:
        print_json({"set": args.target, "file": args.file, "version": exported.version, "rows": exported.rows, "bytes": exported.bytes})
    else:
        print_pairs([("file", args.file), ("version", exported.version), ("rows", exported.rows), ("size", human_bytes(exported.bytes))])
    return 0
