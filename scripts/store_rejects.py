"""`permafrost store rejects`: the items of a version that have no embedding, and why."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

import storage
from scripts.console import print_json, print_table, visible
from scripts.predictions import check_out
from scripts.words import local_path
from storage.files import private_file, publish_as

COLUMNS = ("key", "corpus", "reason", "message")
TABLE_ROWS = 50


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    action = actions.add_parser(
        "rejects",
        help="list the items without an embedding, and why",
        description="List the items of a version that have no embedding: key, corpus, reason code and message.",
        epilog="example: permafrost store rejects features/me/photos --reason corrupt --out rejects.csv",
    )
    action.add_argument("target", metavar="ROOT/TEAM/SET[@VERSION|@TAG]")
    action.add_argument("--reason", action="append", metavar="CODE", help="only these, such as corrupt; may be repeated")
    action.add_argument("--corpus", metavar="ID", help="only those of this corpus")
    action.add_argument("--limit", type=int, default=TABLE_ROWS, metavar="N", help=f"rows of the table (default {TABLE_ROWS}); 0: all")
    action.add_argument("--out", type=local_path, metavar="FILE", help="write all of them to a .csv or .parquet file")
    action.add_argument("--json", action="store_true", help="print one JSON document, with all of them")
    action.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    out = Path(args.out) if args.out else None
    if out:
        check_out(out, "rejects")
    feature_set = storage.open(args.target)
    chosen = _choose(feature_set.rejects, args.reason, args.corpus)
    counts = dict(Counter(chosen["reason"].to_pylist()).most_common())
    if out:
        _write(chosen, out)
    if args.json:
        told = {"set": args.target, "version": feature_set.version, "reasons": counts, "rejects": chosen.to_pylist()}
        print_json({**told, "file": args.out} if out else told)
        return 0
    if not out:
        _print_rows(chosen, args.limit)
    print_table(["reason", "items"], [*counts.items(), ("all", chosen.num_rows)])
    return 0


def _choose(rejects: pa.Table, reasons: list[str] | None, corpus: str | None) -> pa.Table:
    chosen = rejects.select(COLUMNS)
    if reasons:
        chosen = chosen.filter(pc.is_in(chosen["reason"], pa.array(reasons)))
    if corpus is not None:
        chosen = chosen.filter(pc.equal(chosen["corpus"], corpus))
    return chosen.sort_by([("corpus", "ascending"), ("key", "ascending")])


def _print_rows(chosen: pa.Table, limit: int) -> None:
    shown = chosen.slice(0, limit or None).to_pylist()
    print_table(COLUMNS, [[visible(row[name]) for name in COLUMNS] for row in shown])
    if len(shown) < chosen.num_rows:
        print(f"... and {chosen.num_rows - len(shown)} more (--limit 0, --json or --out FILE for all)")
    print()


def _write(chosen: pa.Table, path: Path) -> None:
    with private_file(path.absolute().parent) as partial:
        if path.suffix.lower() == ".csv":
            pyarrow.csv.write_csv(chosen, partial)
        else:
            pq.write_table(chosen, partial)
        publish_as(partial, path)
