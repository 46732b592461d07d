"""`permafrost extract`: a folder, list or containers of images become a version of a feature set."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout

from extractor import ExtractResult
from extractor import extract as run_extraction
from scripts.console import counts_text, human_bytes, human_seconds, import_tensorflow, print_json, print_pairs, progress, warn
from scripts.extract_options import add_options, make_options

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
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    options = make_options(args)
    if args.local:
        import_tensorflow()
    # Ray's listener prints raylet errors, such as a dead worker, on stdout, which belongs to the result (ray/_private/worker.py).
    with progress("embedding", "listing the corpus, then starting workers") as show, redirect_stdout(sys.stderr):
        result = run_extraction(args.corpus, args.set, options, lambda p: show(p.done, p.total))
    for failure in result.failures:
        warn(f"pending, try again: {failure}")
    if args.json:
        print_json(result.to_dict())
    else:
        for number, of_set in enumerate(result.all_sets):
            print("\n" * (number > 0), end="")
            _print(of_set, options.price)
    return 0 if result.dry_run or all(of_set.complete for of_set in result.all_sets) else EXIT_INCOMPLETE


def _print(result: ExtractResult, price: float | None) -> None:
    if result.dry_run:
        print_pairs([("set", result.set), *_planned(result)])
        return
    version = f"{result.version}" + ("" if result.committed else " (nothing has changed, no new version)")
    copied = f" ({result.copied} embeddings from other sets)" if result.copied else ""
    speed = f"{result.images_per_second:.0f} images/s with {result.workers} worker(s)" if result.embedded else "no forward pass needed"
    print_pairs(
        [
            ("set", result.set),
            ("version", version),
            ("account", _account(result)),
            *_skipped(result),
            *([("reasons", counts_text(result.reasons))] if result.reasons else []),
            (
                "work",
                f"{result.read} files read, {result.decoded} images decoded, {result.embedded} embedded{_in_views(result)}"
                f"{_twice(result)}, {result.reused} rows reused{copied}",
            ),
            *([("files were", _told(result.kinds))] if result.read else []),
            ("time", f"{result.seconds:.1f} s, {speed}"),
            *_saved(result, price),
            ("new shards", f"{result.shards} ({human_bytes(result.bytes)})"),
            ("feature space", result.space_id),
            ("report", result.report),
        ]
    )


def _twice(result: ExtractResult) -> str:
    return f" ({result.twice} of them while another run or worker did so, too; kept once)" if result.twice else ""


def _planned(result: ExtractResult) -> list[tuple[str, object]]:
    """A dry run: what would be done."""
    assert result.forecast is not None
    plan = result.forecast
    # By bytes, `files are` tells what has moved.
    moved = "" if plan["exact"] else f" ({result.to_read - plan['images']} only moved, by their stamps)"
    size = f", {human_bytes(plan['bytes_to_read'])}" if plan["bytes_to_read"] is not None else ""
    keys = f"{result.new} new{moved}, {result.changed} changed, {result.deleted} deleted"
    copied = f", copy {result.copied} from other sets" if result.copied else ""  # at most: what no decoder reads only a run finds out
    new = f"at most {plan['images']} images{_in_views(result)}{copied}: {plan['shards']} shards, {human_bytes(plan['shard_bytes'])}"
    pairs: list[tuple[str, object]] = [
        ("would read", f"{result.to_read} of {result.listed} images{size}"),
        ("keys", keys),
        *(_foreseen(result) if plan["exact"] else [("known already", result.rows), ("rejected before", result.rejected)]),
        ("would embed", new),
    ]
    if plan["images_per_second"] is not None and plan["seconds"] is not None:
        pairs.append(
            ("time", f"about {human_seconds(plan['seconds'])} at {plan['images_per_second']:.0f} images/s ({plan['rate_source']})")
        )
    if plan["price"] is not None:
        pairs.append(("price", f"about {plan['price']:,.2f}"))
    return [*pairs, *_skipped(result), ("feature space", result.space_id)]


def _foreseen(result: ExtractResult) -> list[tuple[str, object]]:
    """What all files to read turned out to be."""
    reasons = [("reasons", counts_text(result.reasons))] if result.reasons else []
    return [("files are", _told(result.kinds) or "none"), ("account would be", _account(result)), *reasons]


def _account(result: ExtractResult) -> str:
    return f"{result.listed} listed = {result.rows} rows + {result.rejected} rejected + {result.pending} pending"


def _in_views(result: ExtractResult) -> str:
    return f" in {result.views} views each" if result.views > 1 else ""


def _saved(result: ExtractResult, price: float | None) -> list[tuple[str, object]]:
    if not result.saved_seconds:
        return []
    money = f", {result.saved_seconds / 3600 * price:,.2f} in money" if price else ""
    return [("reuse saved", f"{human_seconds(result.saved_seconds)} of work{money}")]


def _told(kinds: dict[str, int]) -> str:
    return counts_text({kind: n for kind, n in kinds.items() if n})


def _skipped(result: ExtractResult) -> list[tuple[str, object]]:
    return [("skipped names", counts_text(result.skipped))] if result.skipped else []
