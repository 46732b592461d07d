"""`permafrost train`: a feature set and labels become a head."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import storage
from scripts.console import import_tensorflow, print_json, print_pairs, print_table, warn

if TYPE_CHECKING:
    from trainer import FittedHead
    from trainer.evaluate import Evaluation

MAX_TABLE_CLASSES = 50
MAX_MATRIX_CLASSES = 20  # a wider confusion matrix does not fit a terminal; --json has it


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "train",
        help="fit a classification head on a feature set",
        description="Fit a head on cached features: on train, stopped by validation, refitted on both, measured once on test.",
        epilog="example: permafrost train features/me/photos --labels labels.csv --out heads/photos",
    )
    parser.add_argument("set", metavar="ROOT/TEAM/SET[@VERSION|@TAG]", help="the feature set (default: its newest version)")
    parser.add_argument("--labels", metavar="FILE", help="CSV with columns key (or path), label and perhaps split (default: class folders)")
    parser.add_argument("--head", default="linear", metavar="NAME", help="linear (default)")
    parser.add_argument("--out", required=True, metavar="HEAD", help="folder to write; an older head there is replaced")
    parser.add_argument("--c", type=float, default=0.01, help="inverse L2 strength, as in scikit-learn (default 0.01)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, metavar="R", help="of Adam (default 0.001)")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N", help="default 256")
    parser.add_argument("--max-epochs", type=int, default=200, metavar="N", help="default 200")
    parser.add_argument("--patience", type=int, default=10, metavar="N", help="epochs without a better validation loss (default 10)")
    parser.add_argument("--test", type=float, default=0.2, metavar="SHARE", help="held out where no splits are given (default 0.2)")
    parser.add_argument("--validation", type=float, default=0.15, metavar="SHARE", help="held out of train (default 0.15)")
    parser.add_argument("--seed", type=int, default=0, help="of split and order (default 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    storage.open(args.set)  # what is wrong here is said before TensorFlow's seconds of importing
    if args.labels and not Path(args.labels).exists():
        raise storage.NotFoundError(f"no such label file: {args.labels}")
    import_tensorflow()
    import trainer

    options = trainer.FitOptions(
        args.head, args.c, args.learning_rate, args.batch_size, args.max_epochs, args.patience, args.test, args.validation, args.seed
    )
    out = Path(args.out)
    trainer.check_head_target(out)
    fitted = trainer.fit(args.set, args.labels, options)
    trainer.save_head(fitted, out)
    for message in fitted.warnings:
        warn(message)
    if args.json:
        print_json({**trainer.summary(fitted), "head": str(out)})
    else:
        _print(fitted, out)
    return 0


def _print(fitted: FittedHead, out: Path) -> None:
    rows = [(name, fitted.rows[name], e.accuracy, e.macro_f1, e.log_loss) for name, e in fitted.metrics.items()]
    print_table(["split", "rows", "accuracy", "macro F1", "log loss"], rows)
    name, evaluation = list(fitted.metrics.items())[-1]
    print()
    _print_classes(name, evaluation)
    print()
    head = f"{fitted.options.head}, {len(fitted.classes)} classes, {fitted.epochs} epochs, {fitted.seconds:.1f} s"
    print_pairs([("set", f"{fitted.feature_set.name.folder}@{fitted.feature_set.version}"), ("head", head), ("folder", out)])


def _print_classes(name: str, evaluation: Evaluation) -> None:
    columns = zip(evaluation.classes, evaluation.precision, evaluation.recall, evaluation.f1, evaluation.support, strict=True)
    rows = [(c, float(p), float(r), float(f), int(s)) for c, p, r, f, s in columns]
    title = f"{name}, by class"
    if len(rows) > MAX_TABLE_CLASSES:
        title += f" (the {MAX_TABLE_CLASSES} of {len(rows)} with the lowest F1; --json has all)"
        rows = sorted(rows, key=lambda row: row[3])[:MAX_TABLE_CLASSES]
    print_table(["class", "precision", "recall", "F1", "rows"], rows, title=title)
    if len(evaluation.classes) <= MAX_MATRIX_CLASSES:
        print()
        matrix = [(c, *[int(n) for n in counts]) for c, counts in zip(evaluation.classes, evaluation.confusion, strict=True)]
        print_table(["true \\ predicted", *evaluation.classes], matrix, title=f"{name}, confusion matrix")
