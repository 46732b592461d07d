"""`permafrost extract`: a folder or list of images becomes a version of a feature set."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout

from extractor import ExtractOptions, ExtractResult
from extractor import extract as run_extraction
from extractor.backbone_table import BACKBONES
from extractor.image_policy_table import IMAGE_POLICIES
from extractor.recipe import DTYPES, POOLINGS, PRECISIONS
from scripts.backbone_options import add_backbone_options, make_recipe
from scripts.console import counts_text, human_bytes, import_tensorflow, print_json, print_pairs, progress, share, warn
from storage.errors import UsageError
from storage.shard import SHARD_FORMATS

EXIT_INCOMPLETE = 3


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "extract",
        help="embed a folder or list of images into a feature set",
        description="Mirror a folder or a list of images into a feature set. Only images that no version of the set holds are embedded.",
        epilog="example: permafrost extract photos features/me/photos --backbone resnet50 --weights random:0",
    )
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        help="a folder of images (class folders give labels), or a list: .csv, .jsonl or .parquet with a column path",
    )
    parser.add_argument("set", metavar="ROOT/TEAM/SET", help="the feature set: store folder, team and set name")
    parser.add_argument(
        "--backbone",
        required=True,
        metavar="NAME",
        help=f"a .keras model file, hub:PRESET (a preset of KerasHub, or hub:./FOLDER), or one of {', '.join(BACKBONES)}",
    )
    add_backbone_options(parser)
    parser.add_argument("--layer", metavar="L", help="where to cut, see `permafrost layers` (default: before the top)")
    parser.add_argument("--pooling", choices=POOLINGS, default="avg", help="how a feature map or sequence becomes a vector (default avg)")
    parser.add_argument("--image-policy", choices=IMAGE_POLICIES, default="image-v1", help="how files become pixels (default image-v1)")
    parser.add_argument("--format", choices=sorted(SHARD_FORMATS), help="of the shards of a new set (default parquet)")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="of the stored embeddings (default float16)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the computation")
    parser.add_argument("--workers", type=int, metavar="N", help="default: one a GPU, or one for each 4 CPU cores")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--ray", metavar="ADDRESS", help="an existing Ray cluster (default: RAY_ADDRESS, or one started for this run)")
    where.add_argument("--local", action="store_true", help="threads of this process instead of Ray actors")
    parser.add_argument("--corpus-id", metavar="ID", help="name of the corpus in the set (default: derived from its location)")
    parser.add_argument(
        "--add", action="store_true", help="let this corpus into a set that mirrors another one; each is mirrored on its own"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
    parser.add_argument("--no-disk-check", action="store_true", help="start although the disk may be too small for all that is new")
    parser.add_argument(
        "--unit-deadline",
        type=float,
        metavar="SECONDS",
        help="a worker that is longer at one unit has hung (default: at least 600, and 20 times the slowest unit so far)",
    )
    parser.add_argument(
        "--grace", type=float, default=20.0, metavar="SECONDS", help="on SIGTERM, let units under way end within this time (default 20)"
    )
    parser.add_argument("--max-rejects", type=share, default=0.01, metavar="SHARE", help="more rejects mean exit code 3 (default 1%%)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.layer == "":
        raise UsageError("--layer is empty: name a layer (`permafrost layers BACKBONE`), or leave it out")
    recipe = make_recipe(
        args, layer=args.layer or "", pooling=args.pooling, image_policy=args.image_policy, precision=args.precision, dtype=args.dtype
    )
    options = ExtractOptions(
        recipe,
        format=args.format,
        workers=args.workers,
        local=args.local,
        ray_address=args.ray,
        corpus_id=args.corpus_id,
        add=args.add,
        dry_run=args.dry_run,
        check_disk=not args.no_disk_check,
        unit_deadline=args.unit_deadline,
        grace=args.grace,
        max_rejects=args.max_rejects,
    )
    if args.local:
        import_tensorflow()
    # Ray's listener prints raylet errors, such as a dead worker, on stdout, which belongs to the result (ray/_private/worker.py).
    with progress("embedding") as show, redirect_stdout(sys.stderr):
        result = run_extraction(args.corpus, args.set, options, lambda p: show(p.done, p.total))
    for failure in result.failures:
        warn(f"pending, try again: {failure}")
    if args.json:
        print_json(result.to_dict())
    else:
        _print(result)
    return 0 if result.complete or result.dry_run else EXIT_INCOMPLETE


def _print(result: ExtractResult) -> None:
    if result.dry_run:
        pairs: list[tuple[str, object]] = [("would read", f"{result.to_read} of {result.listed} images"), ("known already", result.rows)]
        print_pairs([*pairs, ("rejected before", result.rejected), *_skipped(result), ("feature space", result.space_id)])
        return
    version = f"{result.version}" + ("" if result.committed else " (nothing has changed, no new version)")
    account = f"{result.listed} listed = {result.rows} rows + {result.rejected} rejected + {result.pending} pending"
    copied = f" ({result.copied} embeddings from other sets)" if result.copied else ""
    speed = f"{result.images_per_second:.0f} images/s with {result.workers} worker(s)" if result.embedded else "no forward pass needed"
    print_pairs(
        [
            ("set", result.set),
            ("version", version),
            ("account", account),
            *_skipped(result),
            *([("reasons", counts_text(result.reasons))] if result.reasons else []),
            ("work", f"{result.read} files read, {result.embedded} images embedded, {result.reused} rows reused{copied}"),
            ("time", f"{result.seconds:.1f} s, {speed}"),
            ("new shards", f"{result.shards} ({human_bytes(result.bytes)})"),
            ("feature space", result.space_id),
            ("report", result.report),
        ]
    )


def _skipped(result: ExtractResult) -> list[tuple[str, object]]:
    return [("skipped names", counts_text(result.skipped))] if result.skipped else []
