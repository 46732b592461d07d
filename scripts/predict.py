"""`permafrost predict`: a head on new images, with the backbone that makes its features, or on a feature set."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import storage
from scripts.console import counts_text, import_tensorflow, print_json, print_pairs, print_table, progress, warn
from scripts.corpus_images import add_corpus_option, images_of
from scripts.named_images import NamedImages, name_images
from scripts.predictions import Columns, Predictions, check_out, open_predictions, require_clear, rows_of
from scripts.words import local_path
from storage.errors import NotFoundError, UsageError
from storage.files import exists
from storage.head_place import is_head, parse_head

if TYPE_CHECKING:
    from extractor.recipe import Recipe
    from scripts.console import ShowProgress
    from trainer import Head

EXIT_INCOMPLETE = 3
MAX_TABLE_ROWS = 200
IMAGES_AT_ONCE = 32  # that are decoded for a fine-tuned head
MAX_NOTES = 20  # rejects told one by one; --json has all

_Batch = tuple[list[int], npt.NDArray[np.generic], dict[int, tuple[str, str]]]  # positions, what the head reads of them, rejects


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "predict",
        help="classify images or a feature set with a head",
        description="Embed images with the head's own backbone, or read a feature set, and classify. Another feature space is refused.",
        epilog="example: permafrost predict heads/photos new/*.jpg --out predictions.csv",
    )
    parser.add_argument("head", metavar="HEAD", help="a folder made by `permafrost train`")
    parser.add_argument("inputs", nargs="+", metavar="IMAGES|ROOT/TEAM/SET", help="images, folders or lists of them, or a feature set")
    parser.add_argument("--weights", metavar="W", help="where the backbone's weights are now, if not where they were at extraction")
    parser.add_argument("--backbone", metavar="FILE", help="where the backbone's .keras model file or preset is now, likewise")
    add_corpus_option(parser, "of a fine-tuned head on a set")
    parser.add_argument("--out", type=local_path, metavar="FILE", help="write all predictions to a .csv or .parquet file")
    parser.add_argument("--all-probabilities", action="store_true", help="with --out: a column p(CLASS) for every class")
    parser.add_argument("--json", action="store_true", help="print one JSON document, with the probabilities of all classes unless --out")
    parser.set_defaults(run=run)


@dataclass
class _Result:
    """What the command says at its end. Of large inputs only `shown` rows are kept, unless JSON wants all."""

    columns: Columns
    total: int = 0
    by_class: Counter[str] = field(default_factory=Counter)
    shown: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[dict[str, str]] = field(default_factory=list)  # images that could not be embedded
    without: int = 0  # items of a set that have no embedding

    @property
    def missing(self) -> int:
        return len(self.rejects) + self.without

    def add(self, batch: Predictions, keep: int | None) -> None:
        self.total += len(batch.chosen)
        self.by_class.update(self.columns.classes[i] for chosen in batch.chosen for i in chosen)
        room = len(batch.chosen) if keep is None else max(0, keep - len(self.shown))
        if room:
            self.shown += rows_of(batch, self.columns)[:room]


def run(args: argparse.Namespace) -> int:
    feature_set = _named_set(args.inputs)
    images = NamedImages() if feature_set else name_images(args.inputs)
    moved = {name: place for name, place in (("weights", args.weights), ("name", args.backbone)) if place}
    if feature_set and moved:
        raise UsageError(f"--weights and --backbone are for images: {args.inputs[0]} is a feature set, and no backbone is needed")
    if args.all_probabilities and not args.out:
        raise UsageError("--all-probabilities is about the columns of --out FILE; --json has the probabilities of all classes anyway")
    out = Path(args.out) if args.out else None
    if out:
        check_out(out)
    require_head(args.head)
    import_tensorflow()
    import trainer

    head = trainer.load_head(args.head)
    if head.space.is_pixels and moved:
        raise UsageError(f"--weights and --backbone are for heads on features: {args.head} was fine-tuned, and has its network in it")
    if args.corpus and not (feature_set and head.space.is_pixels):
        raise UsageError("--corpus says where a feature set's images are, for a fine-tuned head on a set")
    names = ("corpus", "key") if feature_set else ("image",)
    result = _Result(Columns(names, head.classes, head.task.multi_label, args.all_probabilities), rejects=images.rejects)
    if out:
        require_clear(out, result.columns)
    keep = 0 if out else None if args.json else MAX_TABLE_ROWS
    with ExitStack() as stack:
        show = stack.enter_context(progress("predicting", "reading items" if feature_set else "building the network"))
        writer = stack.enter_context(open_predictions(out, result.columns)) if out else None
        batches = _of_set(head, feature_set, args.corpus, show) if feature_set else _of_images(head, images, moved, show)
        for batch in batches:
            if writer:
                writer.write(batch)
            result.add(batch, keep)
    if feature_set and (without := feature_set.manifest.counts["listed"] - feature_set.rows):
        warn(f"{without} items of the set have no embedding, and so no prediction")
        result.without = without
    if images.skipped:
        warn(f"names that are no images were passed over: {counts_text(images.skipped)}")
    _say_rejects(result.rejects)
    _show(result, args)
    return EXIT_INCOMPLETE if result.missing else 0


def require_head(folder: str) -> None:
    """Raise NotFoundError if there is no head, before TensorFlow's seconds of importing."""
    if not is_head(parse_head(folder)):
        raise NotFoundError(f"no head at {folder}: expected a folder made by `permafrost train --out {folder}`")


def _named_set(inputs: list[str]) -> storage.FeatureSet | None:
    """The feature set that is named, if one is. Raises UsageError if it does not stand alone."""
    sets = [name for name in inputs if _is_set(name)]
    if sets and len(inputs) > 1:
        raise UsageError(f"{sets[0]} is a feature set: predict one set, or images and folders of images, but not both at once")
    return storage.open(sets[0]) if sets else None


def _is_set(text: str) -> bool:
    try:
        return exists(storage.parse_set(text).folder / "set.json")
    except UsageError:
        return False


def _of_set(head: Head, feature_set: storage.FeatureSet, sources: list[str], show: ShowProgress) -> Iterator[Predictions]:
    """Predictions in storage order, which reads each shard once; those of a fine-tuned head in the order of the items."""
    from trainer.evaluate_set import read

    images = images_of(feature_set, head.space, sources, memory=0) if head.space.is_pixels else None
    if not images:
        head.require_space_of(feature_set)
    table, done = feature_set.columns("corpus", "key"), 0
    show(0, feature_set.rows)
    for positions, features in read(feature_set, np.arange(feature_set.rows), images):
        if len(positions):
            probabilities = head.predict(features)
            names = {name: table[name].take(positions).to_pylist() for name in ("corpus", "key")}
            yield Predictions(names, head.task.chosen(probabilities), probabilities)
        done += len(positions)
        show(done, feature_set.rows)


def _of_images(head: Head, images: NamedImages, moved: dict[str, str], show: ShowProgress) -> Iterator[Predictions]:
    """Predictions of what can be decoded and embedded; the rest joins the rejects of `images`."""
    names, done = images.names, 0
    show(0, len(names))
    batches = _pixels(head, images.locations) if head.space.is_pixels else _features(head, images.locations, moved)
    for positions, features, rejects in batches:
        images.rejects += [{"image": names[i], "reason": reason, "message": message} for i, (reason, message) in rejects.items()]
        if positions:
            probabilities = head.predict(features)
            yield Predictions({"image": [names[i] for i in positions]}, head.task.chosen(probabilities), probabilities)
        done += len(positions) + len(rejects)
        show(done, len(names))


def _pixels(head: Head, locations: list[str]) -> Iterator[_Batch]:
    """What a fine-tuned head reads."""
    from extractor.decoded_images import decode_images
    from extractor.input_kind import InputKind

    kind = InputKind(head.space.input_size, head.space.image_policy)
    for batch in decode_images(locations, kind, IMAGES_AT_ONCE, os.cpu_count() or 2):
        yield batch.positions, batch.images, batch.rejects


def _features(head: Head, locations: list[str], moved: dict[str, str]) -> Iterator[_Batch]:
    from extractor.embed import embed_images

    recipe, quantized = recipe_of(head, moved), _quantized_of(head)
    for batch in embed_images(locations, recipe, head.space, f"the head {head.folder}", os.cpu_count() or 2, quantized):
        yield batch.positions, batch.embeddings, batch.rejects


def _quantized_of(head: Head) -> bytes | None:
    """The calibrated network of a head on int8 features, from the set that it was fitted on. Raises NotFoundError where that is gone."""
    if head.space.quantization is None:
        return None
    try:
        return storage.open(head.fitted_on).golden().quantized
    except NotFoundError as error:
        told = f"the head {head.folder} reads int8 features, and the network that makes them stands with the set {head.fitted_on}"
        raise NotFoundError(f"{told}: {error}") from None


def recipe_of(head: Head, moved: dict[str, str]) -> Recipe:
    """The head's backbone; `moved` has where its files are now. Raises NotFoundError, with the option that tells."""
    from extractor.backbone_source import OWN
    from extractor.recipe import Recipe

    try:
        return Recipe.from_dict({**head.backbone, **moved})
    except NotFoundError as error:
        if moved:
            raise
        place = head.backbone["name"] if head.backbone["weights"] == OWN else head.backbone["weights"]
        option = "--backbone" if head.backbone["weights"] == OWN else "--weights"
        raise NotFoundError(
            f"the head {head.folder} was made with {place}, which is not there: pass {option} FILE where it is now"
        ) from error


def _say_rejects(rejects: list[dict[str, str]]) -> None:
    for reject in rejects[:MAX_NOTES]:
        warn(f"{reject['image']}: {reject['reason']}: {reject['message']}")
    if len(rejects) > MAX_NOTES:
        warn(f"and {len(rejects) - MAX_NOTES} more images without a prediction (--json has all)")


def _show(result: _Result, args: argparse.Namespace) -> None:
    if args.out:
        counts = {"out": args.out, "rows": result.total, "rows_by_class": dict(sorted(result.by_class.items()))}
        if args.json:
            print_json({**counts, "rejects": result.rejects, "without_prediction": result.missing})
        else:
            by_class = ", ".join(f"{n} {name}" for name, n in result.by_class.most_common(20))
            print_pairs([("predictions", result.total), ("classes", by_class), ("no prediction", result.missing), ("file", args.out)])
    elif args.json:
        print_json({"predictions": result.shown, "rejects": result.rejects, "without_prediction": result.missing})
    elif result.shown:
        fields = result.columns.schema.names
        print_table(fields, [[_cell(row[name]) for name in fields] for row in result.shown])
        if left := result.total - len(result.shown):
            print(f"... and {left} more; --out FILE.csv or FILE.parquet writes all {result.total}")


def _cell(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return ", ".join(f"{item:.3f}" if isinstance(item, float) else item for item in value) or "none"
