"""`permafrost train --strategy hybrid`: its options, and the tail that it trains, built from what the set says of its backbone."""

from __future__ import annotations

import argparse
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
    group.add_argument("--tail-learning-rate", type=float, metavar="R", help="hybrid: of the layers behind the cut (default 0.0001)")
    group.add_argument(
        "--train-batch-norm", action="store_true", help="hybrid: let the statistics of BatchNorm behind the cut move (default: as they are)"
    )
    group.add_argument("--weights", metavar="W", help="hybrid: where the backbone's weights are now, if not where they were at extraction")
    group.add_argument("--backbone", metavar="FILE", help="hybrid: where the backbone's .keras model file or preset is now, likewise")


def check_strategy(args: argparse.Namespace, feature_set: FeatureSet) -> None:
    """Raise UsageError for options and sets that do not go with the strategy."""
    if args.mixup and args.strategy == FINE_TUNING:
        raise UsageError("--mixup mixes features, and fine-tuning reads images: leave it out; --augment changes these")
    own = ("tail_learning_rate",) if args.strategy != HYBRID else ()
    shared = ("train_batch_norm", "weights", "backbone") if args.strategy == FEATURE_EXTRACTION else ()
    if given := [name for name in (*own, *shared) if getattr(args, name)]:
        raise UsageError(f"--{given[0].replace('_', '-')} is about --strategy {HYBRID}: pass that, too, or leave it out")
    if args.strategy == HYBRID:
        require_rebuildable(feature_set.description.backbone)


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
    return trainer.Tail(built.model, built.about)


def strategy_pairs(fitted: FittedHead) -> list[tuple[str, object]]:
    """What the command says of a head that is not feature extraction."""
    if fitted.strategy != HYBRID:
        return []
    frozen = fitted.frozen
    behind = f"the last {frozen['layers_behind']} layers trained ({frozen['parameters_behind']:,} parameters)"
    return [("strategy", f"{HYBRID}: frozen up to {frozen['cut']} ({frozen['parameters']:,} parameters), {behind}")]
