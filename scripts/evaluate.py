"""`permafrost evaluate`: a head measured on another set of its feature space."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import storage
from scripts.console import import_tensorflow, print_json, print_pairs, print_table, progress, warn
from scripts.label_options import add_label_options, label_options, require_labels
from scripts.metric_tables import print_classes
from scripts.predict import require_head

if TYPE_CHECKING:
    from trainer import SetEvaluation


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure a head on a feature set",
        description="Measure a head on the labelled items of a set of its own feature space. Another space is refused.",
        epilog="example: permafrost evaluate heads/photos features/me/new-photos --labels labels.csv --split test",
    )
    parser.add_argument("head", metavar="HEAD", help="a folder made by `permafrost train`")
    parser.add_argument("set", metavar="ROOT/TEAM/SET[@VERSION|@TAG]", help="the feature set (default: its newest version)")
    add_label_options(parser)
    parser.add_argument("--split", metavar="NAME", help="only the items with this split: train, validation or test (default: all labelled)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    storage.open(args.set)  # what is wrong here is said before TensorFlow's seconds of importing
    require_head(args.head)
    require_labels(args.labels)
    import_tensorflow()
    import trainer

    head = trainer.load_head(Path(args.head))
    with progress("evaluating", "reading labels") as show:
        result = trainer.evaluate_head(head, args.set, args.labels, args.split, show, label_options(args))
    for message in result.warnings:
        warn(message)
    if args.json:
        print_json({**result.to_dict(), "head": args.head})
    else:
        _print(result, args.head)
    return 0


def _print(result: SetEvaluation, head: str) -> None:
    name, evaluation = result.split or "all", result.evaluation
    headline = evaluation.headline()
    print_table(["split", "rows", *headline], [(name, evaluation.to_dict()["rows"], *headline.values())])
    print()
    print_classes(name, evaluation)
    print()
    unknown = [("unknown", ", ".join(f"{n} {label}" for label, n in result.unknown.items()))] if result.unknown else []
    print_pairs([("set", f"{result.feature_set.name.folder}@{result.feature_set.version}"), ("head", head), *unknown])
