"""`permafrost evaluate`: a head measured on another set of its feature space, or on a newer version of its own."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import storage
from scripts.answer_tables import print_answers
from scripts.console import import_tensorflow, print_json, print_pairs, print_table, progress, warn
from scripts.corpus_images import add_corpus_option, images_of
from scripts.label_options import add_label_options, label_options, require_labels
from scripts.metric_tables import print_classes, with_intervals
from scripts.predict import require_head
from scripts.report_options import add_report_options, check_report_options
from scripts.report_pictures import ItemPictures
from storage.errors import UsageError

if TYPE_CHECKING:
    from extractor.set_images import SetImages
    from trainer import Head, SetEvaluation
    from trainer.questions import Answers

NEAR = 0.98  # trainer.near_duplicates.THRESHOLD, which is not worth TensorFlow's import


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
    parser.add_argument("--against", metavar="HEAD", help="compare with this head on the same items: paired bootstrap, McNemar's test")
    parser.add_argument("--against-set", metavar="SET", help="where that head is of another space: the set to measure it on (same images)")
    parser.add_argument(
        "--slice-by", action="append", default=[], metavar="COLUMN", help="accuracy by value of a column of the items; repeatable"
    )
    parser.add_argument("--label-errors", action="store_true", help="labels that are likely wrong; of items that the head has not seen")
    near = "images nearly like a training image: cosine of the features of at least C"
    parser.add_argument("--near-duplicates", nargs="?", type=float, const=NEAR, metavar="C", help=f"{near} (default {NEAR})")
    add_corpus_option(parser, "of a fine-tuned head")
    add_report_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    for uri in filter(None, (args.set, args.against_set)):
        storage.open(uri)  # what is wrong here is said before TensorFlow's seconds of importing
    if args.against_set and not args.against:
        raise UsageError("--against-set is about the head of --against HEAD, which is missing")
    for folder in filter(None, (args.head, args.against)):
        require_head(folder)
    require_labels(args.labels)
    check_report_options(args)
    if args.near_duplicates is not None and not -1 <= args.near_duplicates <= 1:
        raise UsageError(f"--near-duplicates takes a cosine, from -1 to 1; got {args.near_duplicates:g}")
    import_tensorflow()
    import trainer
    from trainer.slices import require_column

    for column in args.slice_by:
        require_column(column, storage.open(args.set).items.column_names)
    head = trainer.load_head(args.head)
    with progress("evaluating", first=None) as show:
        images = _images(head, args.set, args.corpus)
        result = trainer.evaluate_head(head, args.set, args.labels, args.split, show, label_options(args), images)
    answers = _answers(head, result, args)
    if args.report:
        _report(head, result, answers, args)
    for message in result.warnings:
        warn(message)
    if args.json:
        print_json({**result.to_dict(), "head": args.head, **answers.to_dict(result)})
    else:
        _print(result, args.head)
        print_answers(result, answers)
    return 0


def _answers(head: Head, result: SetEvaluation, args: argparse.Namespace) -> Answers:
    import trainer
    from trainer.drift_of_set import drift_of
    from trainer.questions import Answers, compare, label_errors_of, near_duplicates_with_train, slices_of

    against = None
    if args.against:
        second, of_set = trainer.load_head(args.against), args.against_set or args.set
        options = label_options(args).or_names_of(head.label_options)
        images = _images(second, of_set, args.corpus if of_set == args.set else [])
        other = trainer.evaluate_head(second, of_set, args.labels, args.split, label_options=options, images=images)
        against = (args.against, compare(result, other))
        for message in other.warnings:
            if message not in result.warnings:
                warn(f"{args.against}: {message}")
        if (found := against[1].rows) < max(len(result.positions), len(other.positions)):
            warn(f"compared on the {found} images that both sets hold, of {len(result.positions)} and {len(other.positions)}")
    return Answers(
        slices=slices_of(result, args.slice_by),
        comparison=against,
        errors=label_errors_of(result) if args.label_errors else None,
        near=near_duplicates_with_train(result, args.near_duplicates) if args.near_duplicates is not None else None,
        drift=drift_of(head, result),
    )


def _images(head: Head, uri: str, sources: list[str]) -> SetImages | None:
    """What a fine-tuned head reads; None for a head that reads the features."""
    return images_of(storage.open(uri), head.space, sources) if head.space.is_pixels else None


def _report(head: Head, result: SetEvaluation, answers: Answers, args: argparse.Namespace) -> None:
    from trainer.report import report_of_evaluation, write_report

    pictures = ItemPictures(result.feature_set, args.images)
    write_report(args.report, report_of_evaluation(head, result, answers, pictures))


def _print(result: SetEvaluation, head: str) -> None:
    name, evaluation = result.split or "all", result.evaluation
    headline = evaluation.headline()
    print_table(["split", "rows", *headline], [(name, evaluation.rows, *headline.values())])
    print()
    print_pairs(with_intervals(evaluation))
    print()
    print_classes(name, evaluation)
    print()
    unknown = [("unknown", ", ".join(f"{n} {label}" for label, n in result.unknown.items()))] if result.unknown else []
    print_pairs([("set", f"{result.feature_set.name.folder}@{result.feature_set.version}"), ("head", head), *unknown])
