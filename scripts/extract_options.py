"""The options of `permafrost extract`, by what they are about, and what the program makes of them."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from extractor import Also, ExtractOptions, Recipe
from extractor.backbone_table import BACKBONES
from extractor.engine_choice import DEFAULT, ENGINE_NAMES
from extractor.image_policy_table import IMAGE_POLICIES
from extractor.limits import MAX_FILE_BYTES, MAX_PIXELS, Limits
from extractor.reasons import REASONS
from extractor.recipe import DTYPES, POOLINGS, PRECISIONS
from extractor.views import GRAMMAR
from scripts.backbone_options import add_backbone_options, make_recipe
from scripts.card_options import add_card_options
from scripts.console import import_tensorflow, share, warn
from scripts.recipes import add_recipe_option
from storage.errors import UsageError
from storage.shard import SHARD_FORMATS

ALSO_FIELDS: dict[str, Callable[[str], Any]] = {
    "layer": lambda name: name or None,  # none: the network's end
    "train-last": int,
    "pooling": str,
    "dtype": str,
    "format": str,
    "backbone": str,
    "backbone-arg": str,
    "weights": str,
    "input-size": int,
    "preprocessing": str,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    _add_features(parser.add_argument_group("features: all but --format is in the feature space"))
    _add_corpus(parser.add_argument_group("corpus and reuse"))
    _add_rejects(parser.add_argument_group("limits and rejects"))
    _add_work(parser.add_argument_group("work"))
    add_card_options(parser.add_argument_group("card, of the set and those of --also (`store card` changes it later)"))


def make_options(args: argparse.Namespace) -> ExtractOptions:
    """Raises UsageError."""
    return ExtractOptions(
        _recipe(args),
        format=args.format,
        also=tuple(parse_also(text, args) for text in args.also),
        workers=args.workers,
        engine=args.engine,
        decode_helpers=args.decode_helpers,
        local=args.local,
        ray_address=args.ray,
        corpus_id=args.corpus_id,
        add=args.add,
        rehash=args.rehash,
        reuse_from=tuple(args.reuse_from),
        limits=Limits(args.max_bytes, args.max_pixels),
        retry_rejects=tuple(REASONS) if args.retry_rejects == [] else tuple(args.retry_rejects or ()),
        dry_run=args.dry_run,
        price=args.price,
        check_disk=not args.no_disk_check,
        unit_deadline=args.unit_deadline,
        grace=args.grace,
        max_rejects=args.max_rejects,
    )


def parse_also(text: str, args: argparse.Namespace) -> Also:
    """A further set from `SET,name=value,...`: it differs from the first one in what is named. Raises UsageError.

    Another backbone brings its own weights, input size, preprocessing and layer where these are not named. `layer=` is the network's end.
    """
    name, *pairs = text.split(",")
    given: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        field, equals, value = pair.partition("=")
        if not equals or field not in ALSO_FIELDS:
            raise UsageError(f"--also {text}: {pair!r} should be NAME=VALUE with one of {', '.join(ALSO_FIELDS)}")
        given[field].append(value)
    own = argparse.Namespace(**vars(args))
    if "backbone" in given:
        own.backbone_arg, own.weights, own.input_size, own.preprocessing, own.layer, own.train_last = [], "", None, "", None, None
    elif "layer" in given or "train-last" in given:
        own.layer, own.train_last = None, None
    elif given.get("pooling", ["none"])[-1] != "none":
        own.train_last = None  # what layers go on from is not pooled: the network's end is meant
    for field, values in given.items():
        convert = ALSO_FIELDS[field]
        try:
            setattr(own, field.replace("-", "_"), values if field == "backbone-arg" else convert(values[-1]))
        except ValueError:
            raise UsageError(f"--also {text}: {field} should be a number, got {values[-1]!r}") from None
    return Also(name, _recipe(own), own.format)


def _recipe(args: argparse.Namespace) -> Recipe:
    if args.layer == "":
        raise UsageError("--layer is empty: name a layer (`permafrost layers BACKBONE`), or leave it out")
    if args.train_last is not None:
        return _for_last(args)
    return _with(args, args.layer or "", args.pooling or "avg")


def _for_last(args: argparse.Namespace) -> Recipe:
    """The recipe whose features are what the last layers go on from."""
    if args.layer or args.pooling not in (None, "none"):
        raise UsageError(
            "--train-last chooses the layer, and features that layers go on from are not pooled: leave out --layer and --pooling"
        )
    import_tensorflow()
    from extractor.cut_choice import cut_for

    recipe = _with(args, "", "none")
    cut = cut_for(recipe, args.train_last)
    warn(
        f"--train-last {args.train_last} means --layer {cut.layer} --pooling none: {cut.bytes(args.dtype):,} bytes an image, and "
        f"{cut.layers_behind} layers with {cut.parameters_behind:,} parameters are behind it"
    )
    return replace(recipe, layer=cut.layer)


def _with(args: argparse.Namespace, layer: str, pooling: str) -> Recipe:
    return make_recipe(
        args,
        layer=layer,
        pooling=pooling,
        image_policy=args.image_policy,
        precision=args.precision,
        dtype=args.dtype,
        views=() if args.views is None else args.views,
        view_seed=args.view_seed,
    )


def _add_features(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--backbone",
        required=True,
        metavar="NAME",
        help=f"a .keras model file, hub:PRESET (a preset of KerasHub, or hub:./FOLDER), or one of {', '.join(BACKBONES)}",
    )
    add_recipe_option(group)
    add_backbone_options(group)
    group.add_argument("--layer", metavar="L", help="where to cut, see `permafrost layers` (default: before the top)")
    group.add_argument(
        "--train-last",
        type=int,
        metavar="N",
        help="cut so that `train --strategy hybrid` can train the last N layers, as Keras counts them: the cheapest place to keep features",
    )
    group.add_argument("--pooling", choices=POOLINGS, help="how a feature map or sequence becomes a vector (default avg)")
    group.add_argument("--image-policy", choices=IMAGE_POLICIES, default="image-v1", help="how files become pixels (default image-v1)")
    group.add_argument(
        "--views",
        metavar="V,V,...",
        help=f"augmented variants to embed beside the plain image, for `train` to pick from: {GRAMMAR}; "
        "such as flip,crop,crop,flip-crop (default: none)",
    )
    group.add_argument("--view-seed", type=int, default=0, metavar="N", help="of the crops of --views (default 0)")
    group.add_argument("--format", choices=sorted(SHARD_FORMATS), help="of the shards of a new set (default parquet)")
    group.add_argument("--dtype", choices=DTYPES, default="float16", help="of the stored embeddings (default float16)")
    group.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the computation; int8 is calibrated on the corpus")
    group.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="SET,NAME=VALUE,...",
        help="a further set from the same reading and decoding, and from the same forward pass where only the layer, pooling or dtype "
        f"differs; it differs from the first one in what is named: {', '.join(ALSO_FIELDS)}; layer= is the network's end; may be repeated",
    )


def _add_corpus(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--corpus-id", metavar="ID", help="name of the corpus in the set (default: derived from its location)")
    group.add_argument(
        "--add", action="store_true", help="let this corpus into a set that mirrors another one; each is mirrored on its own"
    )
    group.add_argument("--rehash", action="store_true", help="trust no stamp (size and time): read every file, and go by its bytes")
    group.add_argument(
        "--reuse-from", action="append", default=[], metavar="ROOT", help="another store whose sets lend their embeddings; may be repeated"
    )


def _add_rejects(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-bytes",
        type=int,
        default=MAX_FILE_BYTES,
        metavar="N",
        help=f"larger files are rejects, too-large (default {MAX_FILE_BYTES}: 128 MiB)",
    )
    group.add_argument(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help=f"larger images are rejects, too-large (default {MAX_PIXELS}, the most there is)",
    )
    group.add_argument(
        "--retry-rejects",
        nargs="*",
        metavar="REASON",
        help="read rejects again although their files are unchanged: all of them, or those with these reasons (`store rejects` has them)",
    )
    group.add_argument("--max-rejects", type=share, default=0.01, metavar="SHARE", help="more rejects mean exit code 3 (default 1%%)")


def _add_work(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--workers", type=int, metavar="N", help="default: one a GPU, or one for each 4 CPU cores; more than GPUs share them"
    )
    group.add_argument(
        "--engine",
        choices=ENGINE_NAMES,
        default="",
        help=f"what computes the network (default {DEFAULT}, and openvino for int8); auto: the fastest that is installed and within the "
        "tolerance, by a few measured batches, where a run is long enough for that",
    )
    group.add_argument(
        "--decode-helpers",
        type=int,
        default=0,
        metavar="N",
        help="processes that read and decode for the workers, where the cores beside a GPU cannot keep it busy: on nodes of a Ray cluster "
        "that have CPUs, no GPU and no worker (default: none)",
    )
    where = group.add_mutually_exclusive_group()
    where.add_argument("--ray", metavar="ADDRESS", help="an existing Ray cluster (default: RAY_ADDRESS, or one started for this run)")
    where.add_argument("--local", action="store_true", help="threads of this process instead of Ray actors")
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would be done, how long it takes, and write nothing: by stamps; with --rehash by reading and hashing every file",
    )
    group.add_argument("--price", type=float, metavar="AN_HOUR", help="of the machines, to tell what the run costs and what reuse saved")
    group.add_argument("--no-disk-check", action="store_true", help="start although the disk may be too small for all that is new")
    group.add_argument(
        "--unit-deadline",
        type=float,
        metavar="SECONDS",
        help="a worker that is longer at one unit has hung (default: at least 600, and 20 times the slowest unit so far)",
    )
    group.add_argument(
        "--grace", type=float, default=20.0, metavar="SECONDS", help="on SIGTERM, let units under way end within this time (default 20)"
    )
