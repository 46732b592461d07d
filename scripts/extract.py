"""`permafrost extract`: a folder, list or containers of images become a version of a feature set."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout

from extractor import ExtractOptions, ExtractResult
from extractor import extract as run_extraction
from extractor.backbone_table import BACKBONES
from extractor.image_policy_table import IMAGE_POLICIES
from extractor.limits import MAX_FILE_BYTES, MAX_PIXELS, Limits
from extractor.reasons import REASONS
from extractor.recipe import DTYPES, POOLINGS, PRECISIONS
from scripts.backbone_options import add_backbone_options, make_recipe
from scripts.console import counts_text, human_bytes, human_seconds, import_tensorflow, print_json, print_pairs, progress, share, warn
from storage.errors import UsageError
from storage.shard import SHARD_FORMATS

EXIT_INCOMPLETE = 3


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "extract",
        help="embed a folder, list or containers of images into a feature set",
        description="Mirror a corpus of images into a feature set. Only images that no version of the set holds are embedded.",
        epilog="example: permafrost extract photos features/me/photos --backbone resnet50 --weights random:0",
    )
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        help="a folder of images (class folders give labels); a list: .csv, .jsonl or .parquet with a column path; or WebDataset tars, "
        "Parquet with image bytes or TFRecord files: one, a folder, a pattern such as 'shards-{000..009}.tar', a URI, a prefix of a bucket",
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
    parser.add_argument("--rehash", action="store_true", help="trust no stamp (size and time): read every file, and go by its bytes")
    parser.add_argument(
        "--reuse-from", action="append", default=[], metavar="ROOT", help="another store whose sets lend their embeddings; may be repeated"
    )
    parser.add_argument(
        "--max-bytes",
        type=int,
        default=MAX_FILE_BYTES,
        metavar="N",
        help=f"larger files are rejects, too-large (default {MAX_FILE_BYTES}: 128 MiB)",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help=f"larger images are rejects, too-large (default {MAX_PIXELS}, the most there is)",
    )
    parser.add_argument(
        "--retry-rejects",
        nargs="*",
        metavar="REASON",
        help="read rejects again although their files are unchanged: all of them, or those with these reasons (`store rejects` has them)",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, how long it takes, and write nothing")
    parser.add_argument("--price", type=float, metavar="AN_HOUR", help="of the machines, to tell what the run costs and what reuse saved")
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
        _print(result, options.price)
    return 0 if result.complete or result.dry_run else EXIT_INCOMPLETE


def _print(result: ExtractResult, price: float | None) -> None:
    if result.dry_run:
        print_pairs(_planned(result))
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
            *([("files were", _told(result.kinds))] if result.read else []),
            ("time", f"{result.seconds:.1f} s, {speed}"),
            *_saved(result, price),
            ("new shards", f"{result.shards} ({human_bytes(result.bytes)})"),
            ("feature space", result.space_id),
            ("report", result.report),
        ]
    )


def _planned(result: ExtractResult) -> list[tuple[str, object]]:
    """A dry run: what would be done."""
    assert result.forecast is not None
    plan = result.forecast
    moved = result.to_read - plan["images"]
    size = f", {human_bytes(plan['bytes_to_read'])}" if plan["bytes_to_read"] is not None else ""
    keys = f"{result.new} new ({moved} only moved, by their stamps), {result.changed} changed, {result.deleted} deleted"
    pairs: list[tuple[str, object]] = [
        ("would read", f"{result.to_read} of {result.listed} images{size}"),
        ("keys", keys),
        ("known already", result.rows),
        ("rejected before", result.rejected),
        ("would embed", f"at most {plan['images']} images: {plan['shards']} shards, {human_bytes(plan['shard_bytes'])}"),
    ]
    if plan["seconds"] is not None:
        pairs.append(
            ("time", f"about {human_seconds(plan['seconds'])} at {plan['images_per_second']:.0f} images/s ({plan['rate_source']})")
        )
    if plan["price"] is not None:
        pairs.append(("price", f"about {plan['price']:,.2f}"))
    return [*pairs, *_skipped(result), ("feature space", result.space_id)]


def _saved(result: ExtractResult, price: float | None) -> list[tuple[str, object]]:
    if not result.saved_seconds:
        return []
    money = f", {result.saved_seconds / 3600 * price:,.2f} in money" if price else ""
    return [("reuse saved", f"{human_seconds(result.saved_seconds)} of work{money}")]


def _told(kinds: dict[str, int]) -> str:
    return counts_text({kind: n for kind, n in kinds.items() if n})


def _skipped(result: ExtractResult) -> list[tuple[str, object]]:
    return [("skipped names", counts_text(result.skipped))] if result.skipped else []
