"""`permafrost advise`: what cached features and labels say of a task, and which strategy to take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import storage
from scripts.advice_tables import print_advice
from scripts.console import import_tensorflow, print_json, progress, warn
from scripts.label_options import add_label_options, add_split_options, require_labels, split_fields
from storage.catalog import list_sets
from storage.errors import UsageError
from storage.feature_set import FeatureSet

if TYPE_CHECKING:
    from trainer.advise import Advised

MOST_ITEMS = 3000  # trainer.advice_pool.MOST_ITEMS, which is not worth TensorFlow's import


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "advise",
        help="say which strategy to take, and why",
        description="From cached features and labels alone: how far frozen features go, would more labels or a larger head help, what is "
        "wrong with the labels, which of several sets is best, and which strategy to take. Nothing is written, and no image is read.",
        epilog="example: permafrost advise features/me/resnet50 features/me/mobilenet_v2 --labels labels.csv",
    )
    parser.add_argument(
        "sets", nargs="+", metavar="ROOT/TEAM/SET[@VERSION|@TAG]", help="feature sets of the same images; labels and splits are the first's"
    )
    parser.add_argument("--all", action="store_true", help="and all other sets of the store that hold a corpus of the first one")
    add_label_options(parser)
    parser.add_argument("--multi-label", action="store_true", help="refused: advice is about items of one class each")
    add_split_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="of splits, folds and sample (default 0)")
    parser.add_argument("--most", type=int, default=MOST_ITEMS, metavar="N", help=f"look at a sample of N items (default {MOST_ITEMS})")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.most < 20:
        raise UsageError(f"--most must be 20 at least, got {args.most}: of fewer items nothing can be said")
    if args.multi_label:
        raise UsageError(
            "advice is about items of one class each, as its folds, scores and rule are: for items of any number of classes, "
            "`permafrost sweep --multi-label` says how far frozen features go"
        )
    first, *others = (storage.open(uri) for uri in args.sets)  # what is wrong here is said before TensorFlow's seconds of importing
    require_labels(args.labels)
    uris = list(dict.fromkeys([*args.sets, *(_beside(first, [first, *others]) if args.all else ())]))
    import_tensorflow()
    import trainer

    options = trainer.FitOptions(seed=args.seed, **split_fields(args))
    with progress("advising", first=None) as show:
        found = trainer.advise(uris, args.labels, options, args.most, show)
    _tell(found, args.json)
    return 0


def _beside(first: FeatureSet, named: list[FeatureSet]) -> list[str]:
    """The other sets of the store with an item of one of its corpora, by their newest versions."""
    corpora = set(first.manifest.corpora)
    there = [each for each in list_sets(first.name.root) if each.rows and corpora & set(each.corpora)]
    known = {str(each.name.folder) for each in named}
    return [uri for each in there if (uri := str(first.name.root / each.name)) not in known]


def _tell(found: Advised, as_json: bool) -> None:
    for note in found.evidence.pool.notes:
        warn(note)
    if as_json:
        print_json(found.to_dict())
    else:
        print_advice(found)
