"""The options that say what the labels are and who trains, shared by the commands that fit and measure heads."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import storage

if TYPE_CHECKING:
    from trainer import LabelOptions


def add_label_options(parser: argparse.ArgumentParser) -> None:
    columns = "key (or path, or digest), label and perhaps split and corpus"
    group = parser.add_argument_group("labels")
    group.add_argument("--labels", metavar="FILE", help=f"CSV, JSONL or Parquet with columns {columns} (default: the items' own labels)")
    group.add_argument(
        "--labels-by", choices=("key", "digest"), default="", help="what names the images in the file (default: key where it has one)"
    )
    group.add_argument(
        "--missing-labels", choices=("skip", "refuse"), default="skip", help="items without a label are left out (default), or an error"
    )
    group.add_argument("--classes", metavar="A,B,...", help="only these, after merging (default: all that occur)")
    group.add_argument("--merge", action="append", default=[], metavar="NEW=A,B,...", help="give several classes one name; repeatable")


def add_split_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("splits")
    group.add_argument(
        "--split-by",
        choices=("auto", "given", "hash", "stratified", "grouped"),
        default="auto",
        help="given: as items or labels say; hash: each image by its digest; stratified: a share of each class; grouped: whole groups "
        "(default auto: given where there are any, else stratified, or grouped with --group-by)",
    )
    group.add_argument("--group-by", default="", metavar="COLUMN", help="items with one value of this column stay in one split")
    group.add_argument("--test", type=float, default=0.2, metavar="SHARE", help="held out where no splits are given (default 0.2)")
    group.add_argument("--validation", type=float, default=0.15, metavar="SHARE", help="held out of train (default 0.15)")
    group.add_argument("--shots", type=int, metavar="N", help="training images of each class to learn from (default: all)")


def require_labels(path: str | None) -> None:
    """Raise NotFoundError for a missing file, before TensorFlow's seconds of importing."""
    if path and not Path(path).exists():
        raise storage.NotFoundError(f"no such label file: {path}")


def label_options(args: argparse.Namespace) -> LabelOptions:
    """Raises UsageError."""
    import trainer

    return trainer.LabelOptions(
        missing=args.missing_labels,
        classes=trainer.parse_classes(args.classes) if args.classes is not None else (),
        merge=trainer.parse_merges(args.merge),
        join_by=args.labels_by,
    )


def split_fields(args: argparse.Namespace) -> dict[str, Any]:
    """What `trainer.FitOptions` takes of the options of labels and splits. Raises UsageError."""
    return {
        "labels": label_options(args),
        "split_by": args.split_by,
        "group_by": args.group_by,
        "shots": args.shots,
        "test": args.test,
        "validation": args.validation,
    }
