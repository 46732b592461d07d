"""`permafrost train --strategy fine-tuning`: the whole network from the images of the set's items, started from a warm head."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import storage
from scripts.console import counted, progress, warn
from scripts.corpus_images import add_corpus_option, images_of
from scripts.predict import require_head
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from storage.head_place import parse_head, work_folder
from storage.stated_space import require_rebuildable

if TYPE_CHECKING:
    from trainer import FitOptions, FittedHead
    from trainer.fine_tuning import ImageNetwork
    from trainer.fine_tuning_options import FineTuningOptions

FINE_TUNING = "fine-tuning"
HEAD_OPTIONS = {"head": "linear", "map": "", "hidden": (), "dropout": 0.0, "c": None, "alpha": None, "k": None, "metric": ""}
GIB, MAX_GIB = 1 << 30, 1 << 20


def add_fine_tuning_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("fine-tuning")
    group.add_argument("--from", dest="start", metavar="HEAD", help="fine-tuning: the head to start from (default: one is fitted first)")
    add_corpus_option(group, FINE_TUNING)
    group.add_argument("--rate-decay", type=float, metavar="F", help="fine-tuning: of the learning rate, from the head down (default 0.5)")
    group.add_argument("--groups", type=int, metavar="N", help="fine-tuning: of layers by depth, each with its rate (default 3)")
    group.add_argument(
        "--stages",
        type=_epochs,
        metavar="N,N,...",
        help="fine-tuning: epochs of the head alone, then with the last group, and so on, before all is trained (default 0,1)",
    )
    group.add_argument(
        "--augment", metavar="HOW", help="fine-tuning: flip,crop=0.75,brightness=0.1,contrast=0.1 (default), some of these, or none"
    )
    group.add_argument("--precision", choices=("float32", "bfloat16", "float16"), help="fine-tuning: to compute in (default float32)")
    group.add_argument(
        "--image-memory",
        type=float,
        metavar="GIB",
        help="fine-tuning: decoded images are held up to that (default 2), else decoded each epoch",
    )


def check_fine_tuning(args: argparse.Namespace, feature_set: FeatureSet) -> None:
    """Raise UsageError or NotFoundError for options that do not go together, before TensorFlow's seconds of importing."""
    names = ("start", "corpus", "rate_decay", "groups", "stages", "augment", "precision", "image_memory")
    given = ["from" if name == "start" else name for name in names if getattr(args, name) not in (None, [])]
    if args.strategy != FINE_TUNING:
        if given:
            raise UsageError(f"--{given[0].replace('_', '-')} is about --strategy {FINE_TUNING}: pass that, too, or leave it out")
        return
    require_rebuildable(feature_set.description.backbone)
    if args.image_memory is not None and not 0 <= args.image_memory <= MAX_GIB:
        raise UsageError(f"--image-memory must be from 0 to {MAX_GIB} GiB, got {args.image_memory:g}")
    if args.folds is not None:
        raise UsageError("--folds would fine-tune the network once a fold: cross-validate the head on cached features instead")
    if args.start:
        require_head(args.start)
        if own := [name for name, value in HEAD_OPTIONS.items() if getattr(args, name) != value]:
            raise UsageError(f"--from {args.start} brings its head: leave out --{own[0]}, or --from, and a head is fitted first")


def fine_tuned(args: argparse.Namespace, options: FitOptions) -> FittedHead:
    """options: of the head, labels and splits."""
    import trainer
    from trainer.fine_tuning import fine_tune
    from trainer.image_training import Told

    feature_set = storage.open(args.set)
    if layer := feature_set.description.plain.backbone.get("layer"):
        warn(f"the network that is trained ends at {layer}, as the set's does: layers behind that are no part of it")
    moved = {name: place for name, place in (("weights", args.weights), ("name", args.backbone)) if place}
    tuning, network = _tuning(args), network_of(feature_set, moved)
    memory = None if args.image_memory is None else int(args.image_memory * GIB)
    images = images_of(feature_set, network.space, args.corpus, memory)
    start = trainer.load_head(args.start) if args.start else None
    with progress("fine-tuning (steps, of at most)", first=None) as show:
        told = Told(show, warn, partial(show.begin, "reading images"))
        return fine_tune(args.set, args.labels, images, network, options, tuning, checkpoint_of(args), start, told)


def checkpoint_of(args: argparse.Namespace) -> Path:
    return work_folder(parse_head(args.out), FINE_TUNING)


def remove_checkpoint_of(args: argparse.Namespace) -> None:
    """Once the head is written."""
    from trainer.checkpoint import remove_checkpoint

    if args.strategy == FINE_TUNING:
        remove_checkpoint(checkpoint_of(args))


def fine_tuning_pairs(fitted: FittedHead) -> list[tuple[str, object]]:
    """What the command says of a fine-tuned head."""
    if fitted.strategy != FINE_TUNING:
        return []
    told = fitted.frozen
    trained, groups = told["groups_trained"], len(told["groups"])
    rates = ", ".join(f"{group['learning_rate']:.2g}" for group in told["groups"][:trained])
    how = f"; learning rates from the last layers to the first: {rates}" if rates else ", the head alone"
    start = told["start"]["head"] or f"a {fitted.options.describe()} head on the cached features"
    devices = f", {told['devices']} devices" if told["devices"] > 1 else ""
    pairs: list[tuple[str, object]] = [("strategy", f"{FINE_TUNING} from {start}{how}{devices}")]
    epochs = Counter(told["groups_by_epoch"])
    if len(epochs) > 1:
        stages = (f"{counted(count, 'epoch')} of {_opened(number, groups)}" for number, count in epochs.items())
        pairs.append(("stages", ", ".join(stages)))
    if trained < groups:
        layers = f"the last {trained} of {groups} groups of layers" if trained else "no layers of the network"
        pairs.append(("trained", f"the head and {layers}: in the kept epoch, {fitted.epochs}, no more were open (--stages)"))
    return pairs


def _opened(number: int, groups: int) -> str:
    return "the head alone" if not number else "all" if number == groups else f"the head and {number} of {groups} groups"


def _tuning(args: argparse.Namespace) -> FineTuningOptions:
    from trainer.augmentation import Augmentation
    from trainer.fine_tuning_options import FineTuningOptions

    names = ("learning_rate", "rate_decay", "groups", "stages", "batch_size", "max_epochs", "patience", "precision")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    options = FineTuningOptions(
        **given, weight_decay=args.weight_decay, label_smoothing=args.label_smoothing, train_batch_norm=args.train_batch_norm
    )
    return options if args.augment is None else replace(options, augmentation=Augmentation.parse(args.augment))


def network_of(feature_set: FeatureSet, moved: Mapping[str, str] | None = None) -> ImageNetwork:
    """moved: what of the set's recipe is elsewhere now. Raises SpaceMismatchError for a network that did not make the features."""
    from extractor.backbones import build
    from extractor.image_model import image_model
    from extractor.recipe import Recipe
    from storage.space import require_same_space, space_of_pixels
    from trainer.fine_tuning import ImageNetwork

    description = feature_set.description.plain
    backbone = build(Recipe.from_dict({**description.backbone, **(moved or {})}))
    recipe = backbone.recipe
    way_out = "Pass --weights FILE (or --backbone FILE for a model file) with what the features were made with"
    require_same_space(description.space, backbone.space, f"{feature_set.name}", f"{recipe.name} with weights {recipe.weights}", way_out)
    return ImageNetwork(image_model(backbone), space_of_pixels(recipe.input_size, recipe.image_policy))


def _epochs(text: str) -> tuple[int, ...]:
    """'0,1' to (0, 1); '' to ()."""
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers of epochs such as 0,1, got {text!r}") from None
