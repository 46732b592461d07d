"""The options of the report, which `train` and `evaluate` share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.report_pictures import ItemPictures
from storage.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from trainer import FittedHead


def add_report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--report", metavar="FILE.html", help="write a page with charts, mistakes, doubtful labels, near-duplicates")
    parser.add_argument("--images", metavar="FOLDER", help="where the images are now, for the report's pictures (default: where they were)")


def add_tensorboard_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tensorboard", metavar="FOLDER", help="write learning curves and numbers for `tensorboard --logdir FOLDER`")


def check_report_options(args: argparse.Namespace) -> None:
    """Raise UsageError or NotFoundError before the work, rather than after it."""
    if not args.report and args.images:
        raise UsageError("--images is about the report: pass --report FILE.html, too")
    if args.report and not Path(args.report).absolute().parent.is_dir():
        raise NotFoundError(f"no folder to write the report {args.report} to: make it first")
    if args.images and not Path(args.images).is_dir():
        raise NotFoundError(f"no such folder of images: {args.images}")


def report_fit(fitted: FittedHead, args: argparse.Namespace, candidates: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write the report of a head that was just fitted, perhaps by a sweep with these candidates, if it is asked for."""
    if args.report:
        from trainer.report import report_of_fit, write_report

        pictures = ItemPictures(fitted.feature_set, args.images)
        title = f"{Path(args.out).name}: {fitted.options.describe()} on {fitted.feature_set.name.name}"
        write_report(args.report, report_of_fit(fitted, title, pictures, candidates))
