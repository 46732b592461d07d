"""`permafrost cuts`: where a backbone can be cut for hybrid training, and what each cut would cost."""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import asdict
from math import ceil, inf, nan
from typing import TYPE_CHECKING, Any

from extractor.backbone_table import BACKBONES
from extractor.recipe import DTYPES
from scripts.backbone_options import add_backbone_options
from scripts.console import human_bytes, human_seconds, import_tensorflow, print_json, print_pairs, print_table, progress
from scripts.layers import recipe_without_questions
from storage.errors import UsageError

if TYPE_CHECKING:
    from extractor.corpus import Listing
    from extractor.cut_plan import CutCost, CutRate, HybridWork
    from extractor.cuts import Cut
    from extractor.recipe import Recipe

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
SAMPLE = 96  # images that are read to measure


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "cuts",
        help="list the cuts of a backbone for hybrid training, and plan which to take",
        description="List the layers that separate a backbone into a frozen part and a tail that can be trained from cached features. With "
        "--corpus, measure this machine on a few batches and tell what each cut would cost; the best one within the budget is marked.",
        epilog="example: permafrost cuts vgg16 --corpus photos --budget-disk 10GB --budget-hours 2 --epochs 20",
    )
    parser.add_argument("backbone", metavar="BACKBONE", help="a name, a .keras model file or hub:PRESET, as for extract")
    add_backbone_options(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="of the stored features (default float16)")
    group = parser.add_argument_group("plan")
    group.add_argument("--corpus", metavar="CORPUS", help="the images, as for extract; a few are embedded, and nothing is written")
    group.add_argument("--budget-disk", type=_size, metavar="SIZE", help="that the cache may take, such as 10GB or 512MiB")
    group.add_argument("--budget-hours", type=_hours, metavar="H", help="for extraction and all that `train` then does at most")
    group.add_argument(
        "--epochs", type=int, default=20, metavar="N", help="that train is given as --max-epochs (default 20): of each of its two fits"
    )
    group.add_argument("--measure", type=int, default=4, metavar="N", help="cuts to measure; the others go by their FLOPs (default 4)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if not args.corpus and (args.budget_disk or args.budget_hours):
        raise UsageError("a budget is for a plan: name the images with --corpus, too")
    if args.epochs < 1 or args.measure < 2:
        raise UsageError("--epochs must be 1 or more, and --measure 2 or more")
    # Neither shapes nor rates depend on the values of the weights.
    weights = args.weights or ("random:0" if args.backbone in BACKBONES else "")
    recipe = recipe_without_questions(argparse.Namespace(**{**vars(args), "weights": weights}), pooling="none", dtype=args.dtype)
    import_tensorflow()
    from extractor.cut_choice import cuts_of

    cuts = cuts_of(recipe)
    if args.corpus:
        return _plan(args, recipe, cuts)
    if args.json:
        print_json({"backbone": recipe.name, "cuts": [_fields(cut, args.dtype) for cut in cuts]})
    else:
        columns = [
            "layer",
            "canonical",
            "shape",
            "bytes an image",
            "layers behind",
            "parameters behind",
            "trained",
            "GFLOPs before",
            "behind",
        ]
        print_table(columns, [_row(cut, args.dtype) for cut in cuts])
    return 0


def _plan(args: argparse.Namespace, recipe: Recipe, cuts: list[Cut]) -> int:
    from extractor.cut_plan import Budget, HybridWork, best, candidates, plan
    from extractor.cut_rates import measure_head
    from extractor.sources import list_corpus
    from trainer.split_options import SplitOptions

    listing = list_corpus(args.corpus)
    if not listing.items:
        raise UsageError(f"{args.corpus} holds no images to measure with")
    found = candidates(cuts, args.dtype)
    if not found:
        raise UsageError(f"behind no cut of {recipe.name} is anything that would be trained: train a head on pooled features")
    split = SplitOptions()
    work = HybridWork.of(len(listing.items), split.test, split.validation, args.epochs)
    costs = plan(found, _rates(args, recipe, found, listing), measure_head(cuts[-1].shape[-1]), work, args.dtype)
    budget = Budget(args.budget_disk, None if args.budget_hours is None else 3600 * args.budget_hours)
    chosen = best(costs, budget)
    if args.json:
        told = [{**_fields(cost.cut, args.dtype), **{k: v for k, v in asdict(cost).items() if k != "cut"}} for cost in costs]
        counts = {"images": work.images, "epochs": work.epochs, "work": {**asdict(work), "trained": work.trained, "forward": work.forward}}
        print_json({"backbone": recipe.name, **counts, "cuts": told, "best": chosen and chosen.cut.layer})
        return 0
    print_table(
        ["", "layer", "layers behind", "cache", "extract", "an epoch", f"train, 2 x {args.epochs} epochs", "in all", "from the images", ""],
        [_cost_row(cost, cost is chosen, cost.fits(budget)) for cost in costs],
    )
    pairs = [("train", _told(work))]
    if chosen:
        then = f"permafrost train ROOT/TEAM/SET --strategy hybrid --max-epochs {args.epochs} --out HEAD"
        pairs += [("best", f"{chosen.cut.layer}: the most weights trained within the budget"), ("command", _command(args, chosen.cut))]
        print_pairs([*pairs, ("then", then)])
    else:
        print_pairs([*pairs, ("best", "no cut is within the budget: train a head on pooled features, or allow more")])
    return 0


def _rates(args: argparse.Namespace, recipe: Recipe, found: list[Cut], listing: Listing) -> list[CutRate]:
    from extractor.content import locate
    from extractor.cut_plan import to_measure
    from extractor.cut_rates import measure_cut

    images, rates = len(listing.items), []
    locations = [locate(listing.base, listing.items[i]) for i in range(0, images, ceil(images / SAMPLE))]
    measured = to_measure(found, args.measure)
    with progress("measuring", "building the network") as show:
        show(0, len(measured))
        for number, cut in enumerate(measured):
            rates.append(measure_cut(recipe, cut, locations))
            show(number + 1, len(measured))
    return rates


def _told(work: HybridWork) -> str:
    return (
        f"the head alone, then {work.epochs} epochs of {work.train:,} images, validated on {work.validation:,}, and {work.epochs} of "
        f"{work.train + work.validation:,}: the most it does by default; --patience ends it sooner"
    )


def _command(args: argparse.Namespace, cut: Cut) -> str:
    """What extracts a set at the cut, with the options of the network that were given."""
    given = {"input-size": args.input_size, "preprocessing": args.preprocessing, "weights": args.weights}
    words = ["permafrost", "extract", args.corpus, "ROOT/TEAM/SET", "--backbone", args.backbone]
    words += [word for each in args.backbone_arg for word in ("--backbone-arg", each)]
    words += [word for name, value in given.items() if value for word in (f"--{name}", str(value))]
    return shlex.join([*words, "--layer", cut.layer, "--pooling", "none", "--dtype", args.dtype])


def _cost_row(cost: CutCost, is_best: bool, fits: bool) -> tuple[object, ...]:
    times = (human_seconds(seconds) for seconds in (cost.extract, cost.epoch, cost.train, cost.total, cost.from_images))
    note = "" if fits else "over the budget"
    layer = cost.cut.layer + ("" if cost.measured else " ~")
    return ("*" if is_best else "", layer, cost.cut.layers_behind, human_bytes(cost.bytes), *times, note)


def _row(cut: Cut, dtype: str) -> tuple[object, ...]:
    flops = (f"{value / 1e9:.2f}" for value in (cut.flops, cut.flops_behind))
    shape = "x".join(map(str, cut.shape))
    parameters = (f"{number:,}" for number in (cut.parameters_behind, cut.trained_behind))
    return (cut.layer, cut.canonical, shape, f"{cut.bytes(dtype):,}", cut.layers_behind, *parameters, *flops)


def _fields(cut: Cut, dtype: str) -> dict[str, Any]:
    return {**asdict(cut), "bytes_an_image": cut.bytes(dtype)}


def _size(text: str) -> float:
    """'10GB' to bytes."""
    found = re.fullmatch(r"([0-9.]+)\s*([KMGT]I?B)?", text.strip().upper())
    try:
        size = float(found[1]) * UNITS[found[2] or ""] if found else 0.0
    except ValueError:
        size = 0.0
    if not size:
        raise argparse.ArgumentTypeError(f"expected a size such as 10GB or 512MiB, got {text!r}")
    return size


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = nan
    if not 0 < hours < inf:
        raise argparse.ArgumentTypeError(f"expected a number of hours above 0, such as 2 or 0.5, got {text!r}")
    return hours
