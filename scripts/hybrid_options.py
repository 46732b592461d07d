"""`permafrost train --strategy hybrid`: its options, and the tail that it trains, built from what the set says of its backbone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

import storage
from scripts.recipes import add_recipe_option
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from storage.stated_space import require_rebuildable

if TYPE_CHECKING:
    from trainer import FittedHead, Tail

STRATEGIES = ("feature-extraction", "hybrid", "fine-tuning")
FEATURE_EXTRACTION, HYBRID, FINE_TUNING = STRATEGIES
NETWORK_TRAINED = f"{HYBRID} or {FINE_TUNING}"
OF_TAILS = ("train_batch_norm", "weights", "backbone")  # options of `add_tail_options`


def add_strategy_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("strategy")
    group.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default=FEATURE_EXTRACTION,
        help="what is trained: the head alone (default), the layers behind the cut too (hybrid; see `extract --train-last`), or the whole "
        "network from the images (fine-tuning)",
    )
    add_recipe_option(group)
    last_help = "hybrid: of the layers behind the cut, only those that are among the network's last N (default: all; 0: the head alone)"
    group.add_argument("--train-last", type=int, metavar="N", help=last_help)
    group.add_argument("--tail-learning-rate", type=float, metavar="R", help="hybrid: of the layers behind the cut (default 0.0001)")
    add_tail_options(group, NETWORK_TRAINED)


def add_tail_options(group: argparse._ArgumentGroup, when: str = HYBRID) -> None:
    """What train and sweep say of a network that is trained; when: the strategies that do so."""
    norm_help = f"{when}: let BatchNorm train, too, its statistics and scales (default: both stay as they are)"
    group.add_argument("--train-batch-norm", action="store_true", help=norm_help)
    group.add_argument("--weights", metavar="W", help=f"{when}: where the backbone's weights are now, if not where they were at extraction")
    group.add_argument("--backbone", metavar="FILE", help=f"{when}: where the backbone's .keras model file or preset is now, likewise")


def check_strategy(args: argparse.Namespace, feature_set: FeatureSet) -> None:
    """Raise UsageError for options and sets that do not go with the strategy of `train`."""
    if args.mixup and args.strategy == FINE_TUNING:
        raise UsageError("--mixup mixes features, and fine-tuning reads images: leave it out; --augment changes these")
    if args.strategy == FEATURE_EXTRACTION:
        _require_none_given(args, OF_TAILS, NETWORK_TRAINED)
    check_tail_options(args, feature_set, ("tail_learning_rate", "train_last") if args.strategy != HYBRID else ())


def check_tail_options(args: argparse.Namespace, feature_set: FeatureSet, alien: Sequence[str]) -> None:
    """Raise UsageError where one of the `alien` options is given, which a strategy does not have, or the set's network cannot be built."""
    _require_none_given(args, alien, HYBRID)
    if args.strategy == HYBRID:
        require_rebuildable(feature_set.description.backbone)


def _require_none_given(args: argparse.Namespace, names: Sequence[str], strategies: str) -> None:
    if given := [name for name in names if (value := getattr(args, name)) is not None and value is not False]:
        raise UsageError(f"--{given[0].replace('_', '-')} is about --strategy {strategies}: pass that, too, or leave it out")


def tail_for(args: argparse.Namespace) -> Tail | None:
    """The tail for a hybrid head; None for other strategies. Raises UsageError, SpaceMismatchError."""
    if args.strategy != HYBRID:
        return None
    import trainer
    from extractor.recipe import Recipe
    from extractor.tails import build_tail

    feature_set = storage.open(args.set)
    moved = {name: place for name, place in (("weights", args.weights), ("name", args.backbone)) if place}
    recipe = Recipe.from_dict({**feature_set.description.plain.backbone, **moved})
    built = build_tail(recipe, feature_set.space.plain, str(feature_set.name))
    return trainer.Tail(built.model, built.about, built.layers)


def strategy_pairs(fitted: FittedHead) -> list[tuple[str, object]]:
    """What the command says of a head that is not feature extraction."""
    if fitted.strategy != HYBRID:
        return []
    return [("strategy", f"{HYBRID}: frozen up to {fitted.frozen['cut']} ({fitted.frozen['parameters']:,} parameters), {_trained(fitted)}")]


def _trained(fitted: FittedHead) -> str:
    """The layer of the cut may be among the last N, too, where it has no weights: it is frozen."""
    frozen, behind = fitted.frozen, fitted.frozen["layers_behind"]
    last = min(frozen.get("train_last", behind), behind)
    if last == 0:
        return "and behind it: the head alone trained"
    layers = "the last layer" if last == 1 else f"the last {last} layers"
    if fitted.epochs == 0:
        return f"and behind it as it was: with {layers} trained validation was never better than with the head alone"
    parameters = f"({frozen['parameters_trained']:,} parameters)"
    if last == behind:
        return f"{layers} trained {parameters}"
    return f"and behind it up to {layers}, {'which is' if last == 1 else 'which are'} trained {parameters}"
