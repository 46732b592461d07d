"""The options of the report, which `train` and `evaluate` share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.hybrid_options import FEATURE_EXTRACTION
from scripts.report_pictures import ItemPictures
from scripts.words import local_path
from storage.errors import NotFoundError, UsageError
from storage.files import is_writable

if TYPE_CHECKING:
    from trainer import FittedHead


def add_report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report", type=local_path, metavar="FILE.html", help="write a page with charts, mistakes, doubtful labels, near-duplicates"
    )
    parser.add_argument("--images", metavar="FOLDER", help="where the images are now, for the report's pictures (default: where they were)")


def add_tensorboard_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tensorboard", type=local_path, metavar="FOLDER", help="write learning curves and numbers for `tensorboard --logdir FOLDER`"
    )


def check_report_options(args: argparse.Namespace) -> None:
    """Raise UsageError or NotFoundError before the work, rather than after it."""
    if not args.report and args.images:
        raise UsageError("--images is about the report: pass --report FILE.html, too")
    if args.report:
        _check_report(Path(args.report))
    if getattr(args, "tensorboard", None):
        _check_log(Path(args.tensorboard))
    if args.images and not Path(args.images).is_dir():
        raise NotFoundError(f"no such folder of images: {args.images}")


def _check_report(path: Path) -> None:
    folder = path.absolute().parent
    if not folder.is_dir():
        raise NotFoundError(f"no folder to write the report {path} to: make it first")
    if path.is_dir():
        raise UsageError(f"--report {path} is a folder: name a file in it, such as {path}/report.html")
    _require_writable(folder, f"--report {path}")


def _check_log(folder: Path) -> None:
    above = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not above.is_dir():
        raise UsageError(f"--tensorboard {folder} must be a folder, there or to be made: {above} is a file")
    _require_writable(above, f"--tensorboard {folder}")


def _require_writable(folder: Path, option: str) -> None:
    if not is_writable(folder):
        raise UsageError(f"{option}: you may not write to the folder {folder}. Name another place")


def report_fit(fitted: FittedHead, args: argparse.Namespace, candidates: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write the report of a head that was just fitted, perhaps by a sweep with these candidates, if it is asked for."""
    if args.report:
        from trainer.report import report_of_fit, write_report

        pictures = ItemPictures(fitted.feature_set, args.images)
        strategy = "" if fitted.strategy == FEATURE_EXTRACTION else f"{fitted.strategy}, "
        title = f"{Path(args.out).name}: {strategy}{fitted.options.describe()} on {fitted.feature_set.name.name}"
        write_report(args.report, report_of_fit(fitted, title, pictures, candidates))
