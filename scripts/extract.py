"""`permafrost extract`: a folder, list or containers of images become a version of a feature set."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout

from extractor import ExtractResult
from extractor import extract as run_extraction
from extractor.precision_words import cost_told, head_told
from extractor.reasons import UNCOUNTED_REASONS
from scripts.card_options import card_texts
from scripts.console import counts_text, human_bytes, human_seconds, import_tensorflow, print_json, print_pairs, progress, warn
from scripts.extract_options import add_options, make_options
from scripts.precision_head import PrecisionHead, no_head_beside_jax
from storage.card import Card, set_card
from storage.card_page import leave_page
from storage.names import parse_set

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
    parser.set_defaults(run=run, goes_on=True)


def run(args: argparse.Namespace) -> int:
    options, texts = make_options(args), card_texts(args)
    Card(**texts)  # what is wrong with them is said before the work
    backend = options.first_engine.kind.backend if args.local else "tensorflow"
    if args.local:
        import_tensorflow(backend)
    ask_head = PrecisionHead(on_gpu=args.local) if backend == "tensorflow" else no_head_beside_jax
    # Ray's listener prints raylet errors, such as a dead worker, on stdout, which belongs to the result (ray/_private/worker.py).
    with (
        progress("reading" if options.dry_run else "embedding", "listing the corpus, then starting workers") as show,
        redirect_stdout(sys.stderr),
    ):
        result = run_extraction(args.corpus, args.set, options, lambda p: show(p.done, p.total), ask_head)
    for of_set in result.all_sets:
        if texts and not result.dry_run:
            set_card(parse_set(of_set.set), **texts)
            leave_page(parse_set(of_set.set))
    for failure in result.failures:
        warn(f"pending, try again: {failure}")
    if damaged := sum(count for reason, count in result.reasons.items() if reason in UNCOUNTED_REASONS):
        what = f"{damaged} damaged container{'s' * (damaged != 1)}"
        warn(f"{what}: nobody knows how many images went with them (permafrost store rejects {args.set})")
    for of_set in result.all_sets:
        if of_set.rejected > options.max_rejects * of_set.listed and not result.dry_run:
            warn(
                f"{of_set.rejected} of {of_set.listed} items of {of_set.set} are rejects, more than --max-rejects {options.max_rejects:.4g}"
            )
            if "too-large" in of_set.reasons:
                warn("rejects are not tried again by themselves: after raising a limit, pass --retry-rejects too-large")
    if args.json:
        print_json(result.to_dict())
    else:
        for number, of_set in enumerate(result.all_sets):
            print("\n" * (number > 0), end="")
            pairs = (
                _planned(result, of_set)
                if result.dry_run
                else _done(result, of_set, options.price, options.rehash or bool(options.retry_rejects), options.recipe.precision)
            )
            print_pairs([("set", of_set.set), *pairs])
    return 0 if result.dry_run or all(of_set.complete for of_set in result.all_sets) else EXIT_INCOMPLETE


def _done(run: ExtractResult, result: ExtractResult, price: float | None, again: bool, precision: str) -> list[tuple[str, object]]:
    """What was done for one of the sets of a run."""
    version = f"{result.version}" + ("" if result.committed else " (nothing has changed, no new version)")
    speed = f"{result.images_per_second:.0f} images/s with {result.workers} worker(s)" if result.embedded else "no forward pass needed"
    return [
        ("version", version),
        ("account", _account(result)),
        *_keys(result, again),
        *_skipped(result),
        *([("reasons", counts_text(result.reasons))] if result.reasons else []),
        ("work", _work(run, result)),
        *([("files were", _told(result.kinds))] if _told(result.kinds) else []),
        ("time", f"{result.seconds:.1f} s, {speed}"),
        *_engine(run, result),
        *([("precision", cost_told(precision, result.precision))] if result.precision else []),
        *([("accuracy", told)] if (told := head_told(precision, result.precision)) else []),
        *_cost(run, result),
        *_saved(result, price),
        ("new shards", f"{result.shards} ({human_bytes(result.bytes)})"),
        ("feature space", result.space_id),
        ("report", result.report),
    ]


def _work(run: ExtractResult, result: ExtractResult) -> str:
    """Files are read and decoded for all sets at once, and counted with the first one."""
    some = f" of {result.files}" if result.read < result.files else ""  # the others could not be read, or are pending
    read = f"{result.read}{some} files read{_once(run)}, {result.decoded} images decoded{_helped(result)}"
    copied = f" ({result.copied} embeddings from other sets)" if result.copied else ""
    made = f"{result.embedded} embedded{_in_views(result)}{_twice(result)}, {result.reused} rows reused{copied}"
    return f"{read if result is run else 'read and decoded with the first set'}, {made}"


def _helped(result: ExtractResult) -> str:
    return f" ({result.helped} by decode helpers)" if result.helped else ""


def _twice(result: ExtractResult) -> str:
    return f" ({result.twice} of them while another run or worker did so, too; kept once)" if result.twice else ""


def _keys(result: ExtractResult, again: bool) -> list[tuple[str, object]]:
    """What happened to keys, where more did than that new ones came. again: files were read again that need not have changed."""
    told = {"read again" if again else "changed": result.changed, "deleted": result.deleted, "relabelled": result.relabelled}
    return [("keys", _told({"new": result.new, **told}))] if any(told.values()) else []


def _planned(run: ExtractResult, result: ExtractResult) -> list[tuple[str, object]]:
    """A dry run: what would be done for one of its sets."""
    plan = result.forecast
    # By bytes, `files are` tells what has moved.
    moved = "" if plan["exact"] else f" ({result.to_read - plan['images']} only moved, by their stamps)"
    relabelled = f", {result.relabelled} relabelled" if result.relabelled else ""
    keys = f"{result.new} new{moved}, {result.changed} changed, {result.deleted} deleted{relabelled}"
    copied = f", copy {result.copied} from other sets" if result.copied else ""  # at most: what no decoder reads only a run finds out
    new = f"at most {plan['images']} images{_in_views(result)}{copied}: {plan['shards']} shards, {human_bytes(plan['shard_bytes'])}"
    return [
        *_to_read(run, result),
        ("keys", keys),
        *(_foreseen(result) if plan["exact"] else [("known already", result.rows), ("rejected before", result.rejected)]),
        ("would embed", new),
        *(_forecast(run) if result is run else []),
        *_skipped(result),
        ("feature space", result.space_id),
    ]


def _to_read(run: ExtractResult, result: ExtractResult) -> list[tuple[str, object]]:
    """Each file once for all sets, so that is told with the first one alone."""
    size = f", {human_bytes(result.forecast['bytes_to_read'])}" if result.forecast["bytes_to_read"] is not None else ""
    mine = f"{result.to_read} of {result.listed} images"
    if not run.also:
        return [("would read", f"{mine}{size}")]
    return [*([("would read", f"{run.files} files{_once(run)}{size}")] if result is run else []), ("for this set", mine)]


def _forecast(run: ExtractResult) -> list[tuple[str, object]]:
    """Time and money, where they are known."""
    plan = run.forecast
    pairs: list[tuple[str, object]] = []
    if plan["images_per_second"] is not None and plan["seconds"] is not None:
        rate = f"{plan['images_per_second']:.0f} images/s ({plan['rate_source']})"
        pairs.append(("time", f"about {human_seconds(plan['seconds'])}{_for_all(run)} at {rate}"))
    if plan["price"] is not None:
        pairs.append(("price", f"about {plan['price']:,.2f}{_for_all(run)}"))
    return pairs


def _once(run: ExtractResult) -> str:
    return f" once{_for_all(run)}" if run.also else ""


def _for_all(run: ExtractResult) -> str:
    return f" for all {len(run.all_sets)} sets" if run.also else ""


def _foreseen(result: ExtractResult) -> list[tuple[str, object]]:
    """What all files to read turned out to be."""
    reasons = [("reasons", counts_text(result.reasons))] if result.reasons else []
    return [("files are", _told(result.kinds) or "none"), ("account would be", _account(result)), *reasons]


def _account(result: ExtractResult) -> str:
    return f"{result.listed} listed = {result.rows} rows + {result.rejected} rejected + {result.pending} pending"


def _in_views(result: ExtractResult) -> str:
    return f" in {result.views} views each" if result.views > 1 else ""


def _engine(run: ExtractResult, result: ExtractResult) -> list[tuple[str, object]]:
    """That of the run, where it says why."""
    why = result.engine["why"] if result is run else ""
    return [("engine", f"{result.engine['name']}, {why}")] if why else []


def _cost(run: ExtractResult, result: ExtractResult) -> list[tuple[str, object]]:
    """Of the whole run, and what it was before the work."""
    if result.cost is None:
        return []
    forecast = f" (the forecast was {result.forecast['price']:,.2f})" if result.forecast["price"] is not None else ""
    return [("cost", f"{result.cost:,.2f}{_for_all(run)}{forecast}")]


def _saved(result: ExtractResult, price: float | None) -> list[tuple[str, object]]:
    if result.saved_seconds is None and result.reused:
        return [("reuse saved", f"{result.reused * result.views} forward passes (nobody has measured how long they take)")]
    if not result.saved_seconds:
        return []
    money = f", {result.saved_seconds / 3600 * price:,.2f} in money" if price else ""
    return [("reuse saved", f"{human_seconds(result.saved_seconds)} of work{money}")]


def _told(kinds: dict[str, int]) -> str:
    return counts_text({kind: n for kind, n in kinds.items() if n})


def _skipped(result: ExtractResult) -> list[tuple[str, object]]:
    return [("skipped names", counts_text(result.skipped))] if result.skipped else []
