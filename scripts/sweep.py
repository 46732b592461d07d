"""`permafrost sweep`: many heads tried in one pass, the best one kept."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import storage
from scripts.console import counted, import_tensorflow, print_json, print_pairs, print_table, progress, warn
from scripts.hybrid_options import FEATURE_EXTRACTION, HYBRID, OF_TAILS, add_tail_options, check_tail_options, strategy_pairs, tail_for
from scripts.label_options import add_label_options, add_split_options, require_labels, split_fields
from scripts.report_options import add_report_options, check_report_options, report_fit
from scripts.words import local_path
from storage.card_page import leave_page
from storage.errors import UsageError
from storage.files import to_json, write_atomic
from storage.head_place import parse_head, require_head_place, work_folder
from storage.heads import is_in_store
from storage.place import Place

if TYPE_CHECKING:
    from trainer.sweep_options import SweepOptions
    from trainer.sweep_result import CandidateResult, SweepResult

SWEEP_FILE = "sweep.json"
MAX_TABLE_ROWS = 30
UNITS = {True: "heads", False: "epochs of heads"}  # of progress: heads that are found exactly have no epochs


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "sweep",
        help="try many heads in one pass and keep the best",
        description="Train all candidates together on cached features, choose by validation, refit on train and validation, test once. "
        "A sweep that was stopped goes on when the same command is given again.",
        epilog="example: permafrost sweep features/me/photos --grid c=0.01,0.1,1 --grid class_weights=none,balanced --out heads/photos",
    )
    parser.add_argument("set", metavar="ROOT/TEAM/SET[@VERSION|@TAG]", help="the feature set (default: its newest version)")
    add_label_options(parser)
    parser.add_argument("--multi-label", action="store_true", help="items have any number of classes: lists, or text such as a|b|c")
    parser.add_argument("--out", required=True, metavar="HEAD", help="folder to write; an older head there is replaced")
    _add_axes(parser)
    _add_strategy(parser)
    add_split_options(parser)
    _add_fit_options(parser)
    add_report_options(parser)
    parser.add_argument(
        "--state", type=local_path, metavar="FOLDER", help="keeps what is done until the head is written (default: .HEAD.sweep beside HEAD)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run, goes_on=True)


def _add_axes(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(_VALUES)
    parser.add_argument(
        "--head", default="linear", metavar="NAME,...", help="linear (default), mlp, logistic, ridge, or several as linear,mlp"
    )
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        type=_grid,
        metavar="NAME=V,V,...",
        help=f"values to try of {names}: hidden=128,512x128, class_weights=none,balanced. May be given for several (default: five of c)",
    )
    parser.add_argument(
        "--range",
        action="append",
        default=[],
        type=_range,
        metavar="NAME=LOW:HIGH",
        help="with --budget: draw a number from a range, rates and strengths by their logarithm (default: c and learning_rate)",
    )
    parser.add_argument(
        "--budget", type=int, metavar="N", help="draw N candidates, and give of three one three times the epochs, and so on"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each candidate, with other validation items (default 3)")
    parser.add_argument("--metric", default="", metavar="NAME", help="to choose by: accuracy (default), log_loss, macro_f1; see the docs")


def _add_strategy(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("strategy")
    group.add_argument(
        "--strategy",
        choices=(FEATURE_EXTRACTION, HYBRID),
        default=FEATURE_EXTRACTION,
        help="what is trained: heads alone, all together (default), or each with the last layers behind the set's cut (hybrid; see "
        "`extract --train-last`)",
    )
    add_tail_options(group)
    group = parser.add_argument_group("values to try", "as --grid and --range say them, by the names that train has")
    for name, about in _NUMBERS.items():
        metavar = "V,V,..." if name == "train_last" else "V,V,...|LOW:HIGH"
        group.add_argument(f"--{name.replace('_', '-')}", type=partial(_axis, name), metavar=metavar, help=about)


def _add_fit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--map", default="", metavar="POOLING", help="for maps: flatten (default; hybrid avg), avg or max")
    parser.add_argument("--batch-size", type=int, metavar="N", help="default 256, fewer where these exceed 16 MiB; hybrid 32")
    parser.add_argument("--max-epochs", type=int, default=200, metavar="N", help="default 200")
    parser.add_argument("--patience", type=int, default=10, metavar="N", help="epochs without a better validation loss (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds, and that of test split, order and draws (default 0)")
    parser.add_argument("--views", choices=("random", "plain"), default="random", help="as for train (default random)")


def run(args: argparse.Namespace) -> int:
    feature_set = storage.open(args.set)  # what is wrong here is said before TensorFlow's seconds of importing
    check_tail_options(args, feature_set, () if args.strategy == HYBRID else OF_TAILS)
    require_labels(args.labels)
    check_report_options(args)
    require_head_place(out := parse_head(args.out))
    import_tensorflow()
    import trainer
    from trainer.sweep import candidates_of
    from trainer.sweep_state import remove_state

    options = _options(args)
    if not options.is_hybrid:
        candidates_of(options)  # a value out of range is refused before anything is read
    state = Path(args.state) if args.state else work_folder(out, "sweep")
    tail = tail_for(args)
    with progress(UNITS[options.exact], first=None) as show:
        result = trainer.sweep(args.set, args.labels, options, state, show, warn, tail)
    trainer.save_head(result.fitted, out)
    write_atomic(out / SWEEP_FILE, to_json(result.to_dict()))
    remove_state(state)
    if is_in_store(out, result.fitted.feature_set.name):
        leave_page(result.fitted.feature_set.name)
    report_fit(result.fitted, args, result.charted())
    for message in result.fitted.warnings:
        warn(message)
    if args.json:
        print_json({**result.to_dict(), "head": str(out)})
    else:
        _print(result, out)
    return 0


def _options(args: argparse.Namespace) -> SweepOptions:
    from trainer import FitOptions, SweepOptions
    from trainer.sweep_options import Range

    axes: dict[str, Any] = {}
    by_name = [axis for name in _NUMBERS if (axis := getattr(args, name))]
    for name, axis in [*args.grid, *args.range, *by_name]:
        if name in axes:
            raise UsageError(f"{name} is given twice: name all its values, or one range, at once")
        axes[name] = Range(*axis.values()) if isinstance(axis, dict) else axis
    common = ("map", "multi_label", "batch_size", "max_epochs", "patience", "seed", "views", "train_batch_norm")
    base = FitOptions(**{name: getattr(args, name) for name in common}, **split_fields(args))
    heads = tuple(args.head.split(","))
    return SweepOptions(base, {"head": heads, **axes}, seeds=args.seeds, budget=args.budget, metric=args.metric, strategy=args.strategy)


def _print(result: SweepResult, out: Place) -> None:
    options, fitted = result.options, result.fitted
    varied = result.varied
    shown = result.candidates[:MAX_TABLE_ROWS]
    title = f"{len(result.candidates)} candidate{'s' * (len(result.candidates) != 1)}"
    title += f" (the first {MAX_TABLE_ROWS}; {out / SWEEP_FILE} has all)" if len(shown) < len(result.candidates) else ""
    by_epochs = options.is_hybrid or any(candidate.epochs > 1 for candidate in shown)  # a head that is found exactly has none
    columns = [*varied, f"validation {options.ranked_by}", "+-", "behind best", "+-", "log loss", *(["epochs", "trained"] * by_epochs)]
    print_table(columns, [_row(candidate, varied, options.ranked_by, by_epochs) for candidate in shown], title=title)
    print()
    rows = [(name, fitted.rows[name], *evaluation.headline().values()) for name, evaluation in fitted.metrics.items()]
    title = f"the best, fitted on {'train and validation' if fitted.refitted else 'the shots of train alone'}"
    print_table(["split", "rows", *next(iter(fitted.metrics.values())).headline()], rows, title=title)
    print()
    chosen = ", ".join(
        [
            fitted.options.describe(),
            *(f"{name} {_value(getattr(fitted.options, name))}" for name in varied if name not in ("head", "hidden")),
        ]
    )
    source = f"{fitted.feature_set.name.folder}@{fitted.feature_set.version}"
    epochs = f", {counted(fitted.epochs, 'epoch')}" if by_epochs else ""
    pairs = [("best", chosen + epochs), ("+-", result.interval), ("folder", out)]
    print_pairs([("set", source), *strategy_pairs(fitted), *pairs, ("seconds", f"{fitted.seconds:.1f}")])


def _row(candidate: CandidateResult, varied: list[str], metric: str, by_epochs: bool) -> tuple[object, ...]:
    found, behind = candidate.metrics[metric], candidate.behind
    behind_best = (behind.mean, behind.half_width) if behind else (None, None)
    numbers = [found.mean, found.half_width, *behind_best, candidate.metrics["log_loss"].mean]
    trained = max(outcome.progress.epoch for outcome in candidate.outcomes)
    texts = map(_number, numbers)
    return (*(_value(getattr(candidate.options, name)) for name in varied), *texts, *((candidate.epochs, trained) if by_epochs else ()))


def _number(value: float | None) -> str:
    """Not -0.000, as of a head that is a hair before the winner where both are as good as the items can tell."""
    return "" if value is None else f"{round(float(value), 3) + 0:.3f}"


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _hidden(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x"))


def _weights(text: str) -> str | None:
    return None if text == "none" else text


_NUMBERS = {
    "c": "inverse L2 strength",
    "alpha": "L2 strength of ridge",
    "learning_rate": "of Adam; hybrid: of the head",
    "dropout": "of the mlp's hidden units",
    "train_last": "hybrid: how many of the network's last layers train (default: 0, the head alone, and three numbers up to the tail)",
    "tail_learning_rate": "hybrid: of the layers behind the cut (default: three, or with --budget a range)",
    "weight_decay": "hybrid: of all kernels in each step",
    "label_smoothing": "hybrid: of each target, spread over all classes",
    "mixup": "hybrid: mix features in pairs, by shares from Beta(A, A); 0: not",
}
_VALUES: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(_NUMBERS, float),
    "train_last": int,
    "hidden": _hidden,
    "class_weights": _weights,
}


def _grid(text: str) -> tuple[str, tuple[Any, ...]]:
    """'c=0.1,1' to ("c", (0.1, 1.0))."""
    name, values = _named(text)
    try:
        return name, tuple(_VALUES[name](value) for value in values.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected values of {name} such as {name}={_example(name)}, got {text!r}") from None


def _range(text: str) -> tuple[str, dict[str, float]]:
    """'c=0.1:1' to ("c", {"low": 0.1, "high": 1.0})."""
    name, values = _named(text)
    try:
        low, high = map(float, values.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a range such as c=0.0001:10, got {text!r}") from None
    return name, {"low": low, "high": high}


def _axis(name: str, text: str) -> tuple[str, tuple[Any, ...] | dict[str, float]]:
    """The value of --name."""
    try:
        return (_range if ":" in text else _grid)(f"{name}={text}")
    except argparse.ArgumentTypeError:
        or_range = "" if name == "train_last" else ", or a range such as 0.01:0.1"
        raise argparse.ArgumentTypeError(f"expected values such as {_example(name)}{or_range}, got {text!r}") from None


def _example(name: str) -> str:
    return {"train_last": "0,10,20", "hidden": "128,512x128"}.get(name, "0.01,0.1")


def _named(text: str) -> tuple[str, str]:
    name, _, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if name not in _VALUES:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(_VALUES)} before '=', got {text!r}")
    return name, values
