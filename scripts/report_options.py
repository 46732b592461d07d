"""The options of the report, which `train` and `evaluate` share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.report_pictures import ItemPictures
from storage.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from trainer import FittedHead


def add_report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--report", metavar="FILE.html", help="write a page with charts, mistakes, doubtful labels, near-duplicates")
    parser.add_argument("--images", metavar="FOLDER", help="where the images are now, for the report's pictures (default: where they were)")
    parser.add_argument("--sweep-results", metavar="FILE", help="sweep.json of `permafrost sweep`, to be shown in the report")


def add_tensorboard_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tensorboard", metavar="FOLDER", help="write learning curves and numbers for `tensorboard --logdir FOLDER`")


def check_report_options(args: argparse.Namespace) -> None:
    """Raise UsageError or NotFoundError before the work, rather than after it."""
    if not args.report and (args.images or args.sweep_results):
        raise UsageError("--images and --sweep-results are about the report: pass --report FILE.html, too")
    if args.report and not Path(args.report).absolute().parent.is_dir():
        raise NotFoundError(f"no folder to write the report {args.report} to: make it first")
    if args.images and not Path(args.images).is_dir():
        raise NotFoundError(f"no such folder of images: {args.images}")


def report_fit(fitted: FittedHead, args: argparse.Namespace) -> None:
    """Write the report and the log of a head that was just fitted, if they are asked for."""
    if args.tensorboard:
        from trainer.tensorboard_log import log_fit

        log_fit(fitted, args.tensorboard)
    if args.report:
        from trainer.report import report_of_fit, write_report

        pictures = ItemPictures(fitted.feature_set, args.images)
        title = f"{Path(args.out).name}: {fitted.options.describe()} on {fitted.feature_set.name.name}"
        write_report(args.report, report_of_fit(fitted, title, pictures, read_candidates(args.sweep_results)))


def read_candidates(path: str | None) -> list[dict[str, Any]]:
    """The candidates in a sweep.json; none without one. Raises NotFoundError, UsageError."""
    if not path:
        return []
    try:
        value = json.loads(Path(path).read_bytes())
        candidates = value["candidates"] if isinstance(value, dict) else value
        told = [{**each, "validation": _numbers(each["validation"])} for each in candidates]
        return [each for each in told if "mean" in each["validation"]]
    except FileNotFoundError:
        raise NotFoundError(f"no such file: {path}") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is no result of `permafrost sweep` ({type(error).__name__}: {error})") from None


def _numbers(validation: dict[str, Any]) -> dict[str, float]:
    return {name: float(validation[name]) for name in ("mean", "low", "high") if validation.get(name) is not None}
