"""`permafrost train`: a feature set and labels become a head."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import storage
from scripts.console import counted, import_tensorflow, print_json, print_pairs, print_table, progress, warn
from scripts.hybrid_options import add_strategy_options, check_strategy, strategy_pairs, tail_for
from scripts.label_options import add_label_options, add_split_options, require_labels, split_fields
from scripts.metric_tables import print_classes
from scripts.report_options import add_report_options, add_tensorboard_option, check_report_options, report_fit
from scripts.train_images import (
    FINE_TUNING,
    add_fine_tuning_options,
    check_fine_tuning,
    fine_tuned,
    fine_tuning_pairs,
    remove_checkpoint_of,
)
from storage.card_page import leave_page
from storage.head_place import parse_head, require_head_place
from storage.heads import is_in_store
from storage.place import Place

if TYPE_CHECKING:
    from trainer import FitOptions, FittedHead


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "train",
        help="fit a classification head on a feature set",
        description="Fit a head on cached features: on train, stopped by validation, refitted on both, measured once on test.",
        epilog="example: permafrost train features/me/photos --labels labels.csv --head mlp --hidden 128 --out heads/photos",
    )
    parser.add_argument("set", metavar="ROOT/TEAM/SET[@VERSION|@TAG]", help="the feature set (default: its newest version)")
    add_label_options(parser)
    parser.add_argument("--multi-label", action="store_true", help="items have any number of classes: lists, or text such as a|b|c")
    parser.add_argument("--out", required=True, metavar="HEAD", help="folder to write; an older head there is replaced")
    _add_head_options(parser)
    _add_fit_options(parser)
    add_strategy_options(parser)
    add_fine_tuning_options(parser)
    add_split_options(parser)
    folds_help = "cross-validate too: predict all but the test items by heads that were fitted without their fold (of N)"
    parser.add_argument("--folds", type=int, metavar="N", help=folds_help)
    add_report_options(parser)
    add_tensorboard_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def _add_head_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--head", default="linear", metavar="NAME", help="linear (default), mlp, or found exactly: logistic, ridge, class-mean, knn"
    )
    parser.add_argument(
        "--map", default="", metavar="POOLING", help="for maps: flatten (default; hybrid avg), avg, max, or attention (linear and mlp)"
    )
    parser.add_argument("--hidden", type=_sizes, default=(), metavar="N,N,...", help="units of the mlp's hidden layers (default 128)")
    parser.add_argument("--dropout", type=float, default=0.0, metavar="SHARE", help="of the mlp's hidden units (default 0)")
    parser.add_argument(
        "--c", type=float, help="inverse L2 strength, as in scikit-learn (default: linear 0.01, mlp 0.1, logistic by validation)"
    )
    parser.add_argument("--alpha", type=float, help="L2 strength of the ridge head, as in scikit-learn (default: by validation)")
    parser.add_argument("--k", type=int, metavar="N", help="neighbours that vote in the knn head (default: by validation)")
    parser.add_argument("--metric", default="", metavar="NAME", help="of the knn head: cosine (default) or euclid")
    parser.add_argument("--class-weights", metavar="W", help="balanced, or NAME=W,NAME=W,... (default: all items count alike)")


def _add_fit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--learning-rate", type=float, metavar="R", help="of Adam (default 0.001, less for flattened maps; fine-tuning 0.0003)"
    )
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="default 256, fewer where these exceed 16 MiB; hybrid and fine-tuning 32"
    )
    parser.add_argument("--max-epochs", type=int, metavar="N", help="default 200; fine-tuning 20")
    parser.add_argument("--patience", type=int, metavar="N", help="epochs without a better validation loss (default 10; fine-tuning 5)")
    parser.add_argument("--weight-decay", type=float, default=0.0, metavar="W", help="of all kernels in each step, as in AdamW (default 0)")
    parser.add_argument("--label-smoothing", type=float, default=0.0, metavar="SHARE", help="of each target, spread over all classes (0)")
    parser.add_argument(
        "--mixup", type=float, default=0.0, metavar="A", help="mix features in pairs, by shares from Beta(A, A) (default: not)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of split, order and picked views (default 0)")
    parser.add_argument(
        "--views",
        choices=("random", "plain"),
        default="random",
        help="of a set with views: train on one at random for each item and epoch (default), or on the plain images alone",
    )


def run(args: argparse.Namespace) -> int:
    args.goes_on = args.strategy == FINE_TUNING  # which alone leaves a checkpoint
    feature_set = storage.open(args.set)  # what is wrong here is said before TensorFlow's seconds of importing
    check_strategy(args, feature_set)
    check_fine_tuning(args, feature_set)
    require_labels(args.labels)
    check_report_options(args)
    require_head_place(out := parse_head(args.out))
    import_tensorflow()
    import trainer

    options = trainer.FitOptions(
        head=args.head,
        map=args.map,
        hidden=args.hidden,
        dropout=args.dropout,
        c=args.c,
        alpha=args.alpha,
        k=args.k,
        metric=args.metric,
        multi_label=args.multi_label,
        class_weights=trainer.parse_class_weights(args.class_weights) if args.class_weights is not None else None,
        seed=args.seed,
        views=args.views,
        **({} if args.strategy == FINE_TUNING else _step_fields(args)),
        **split_fields(args),
    )
    fitted = fine_tuned(args, options) if args.strategy == FINE_TUNING else _fitted(args, options)
    trainer.save_head(fitted, out)
    remove_checkpoint_of(args)
    if is_in_store(out, fitted.feature_set.name):
        leave_page(fitted.feature_set.name)
    if args.tensorboard:
        from trainer.tensorboard_log import log_fit

        log_fit(fitted, args.tensorboard)
    report_fit(fitted, args)
    for message in fitted.warnings:
        warn(message)
    if args.json:
        print_json({**trainer.summary(fitted), "head": str(out)})
    else:
        _print(fitted, out)
    return 0


def _fitted(args: argparse.Namespace, options: FitOptions) -> FittedHead:
    """On features; folds, which may be many, tell how far they are."""
    import trainer
    from trainer.folds import require_folds

    tail = tail_for(args)
    if args.folds is None:
        return trainer.fit(args.set, args.labels, options, None, tail)
    require_folds(args.folds)
    with progress("folds", first=None) as show:
        return trainer.fit(args.set, args.labels, options, args.folds, tail, show)


def _step_fields(args: argparse.Namespace) -> dict[str, Any]:
    """What a head that is fitted on features takes of them; fine-tuning has its own defaults, and they are not about its starting head."""
    names: tuple[str, ...] = ("learning_rate", "batch_size", "max_epochs", "patience", "weight_decay", "label_smoothing", "mixup")
    names += ("tail_learning_rate", "train_batch_norm", "train_last")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _print(fitted: FittedHead, out: Place) -> None:
    rows = [(name, fitted.rows[name], *evaluation.headline().values()) for name, evaluation in fitted.metrics.items()]
    name, evaluation = list(fitted.metrics.items())[-1]
    crossed = fitted.cross_validation
    if crossed:
        rows.append((f"{crossed.folds} folds", crossed.evaluation.rows, *crossed.evaluation.headline().values()))
    print_table(["split", "rows", *evaluation.headline()], rows)
    if crossed:
        leading = next(iter(evaluation.headline()))
        print(f"\n{leading} over {crossed.folds} folds: {crossed.interval.mean:.3f} +- {crossed.interval.half_width:.3f} (95% t interval)")
    print()
    print_classes(name, evaluation)
    print()
    how = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in fitted.chosen.items())
    if fitted.epochs or not how or fitted.strategy != "feature-extraction":
        how = ", ".join(filter(None, (counted(fitted.epochs, "epoch"), how)))
    head = f"{fitted.options.describe()}, {len(fitted.classes)} classes, {how}, {fitted.seconds:.1f} s (the fit {fitted.fit_seconds:.1f})"
    source = f"{fitted.feature_set.name.folder}@{fitted.feature_set.version}"
    if len(fitted.feature_set.views) > 1:
        source += ", plain images alone" if fitted.options.views == "plain" else f", {len(fitted.feature_set.views)} views at random"
    print_pairs([("set", source), *strategy_pairs(fitted), *fine_tuning_pairs(fitted), ("head", head), ("folder", out)])


def _sizes(text: str) -> tuple[int, ...]:
    """'512,128' to (512, 128)."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected sizes such as 128 or 512,128, got {text!r}") from None
