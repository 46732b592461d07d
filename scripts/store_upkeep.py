"""`permafrost store compact`, `expire`, `gc` and `rm`: what is tidied, and what leaves a store.

Each only says what it would do unless `--yes` is given.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from scripts.console import human_bytes, print_json, print_pairs, warn
from storage.compact import compact_set
from storage.errors import UsageError
from storage.expire import expire_versions
from storage.gc import LEAST_GRACE_SECONDS, collect_garbage
from storage.heads import FOLDER as HEADS
from storage.heads import heads_on, unread_heads
from storage.names import parse_set
from storage.removal import remove_set

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
MAX_AGE_SECONDS = 36525 * 86400


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "let old versions leave: by number, by age, or both; the newest stays, and what a tag or a head names"
    expire = _action(actions, "expire", text, "permafrost store expire features/me/photos --keep 5 --older-than 30d --yes")
    expire.add_argument("--keep", type=int, metavar="N", help="how many of the newest versions stay")
    expire.add_argument("--older-than", metavar="AGE", help="only those that are older, such as 30d, 12h, 90m or 2w")
    expire.set_defaults(run=run_expire, goes_on=True)

    text = "delete files that no version lists: of expired versions, of runs that did not finish, and of killed writers"
    gc = _action(actions, "gc", text, "permafrost store gc features/me/photos --yes")
    gc.add_argument(
        "--grace",
        metavar="AGE",
        default="24h",
        help="younger files stay: a writer may list them yet (such as 90m or 2d; at least 1m, default 24h)",
    )
    gc.set_defaults(run=run_gc, goes_on=True)

    text = "merge small shards and leave out embeddings that no item of the newest version points at; nothing is computed"
    _action(actions, "compact", text, "permafrost store compact features/me/photos --yes").set_defaults(run=run_compact)

    text = "remove a set with all its versions, tags and runs"
    _action(actions, "rm", text, "permafrost store rm features/me/photos --yes").set_defaults(run=run_rm, goes_on=True)


def _action(actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, example: str) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=text, description=text, epilog=f"example: {example}")
    action.add_argument("target", metavar="ROOT/TEAM/SET")
    action.add_argument("--yes", action="store_true", help="do it; without it, only say what would be done")
    action.add_argument("--json", action="store_true", help="print one JSON document")
    return action


def run_expire(args: argparse.Namespace) -> int:
    before = datetime.now(UTC) - timedelta(seconds=age_seconds(args.older_than, "--older-than")) if args.older_than else None
    name = parse_set(args.target)
    expiry = expire_versions(name, args.keep, before, args.yes)
    if args.json:
        print_json({"set": str(name), "done": args.yes, "leaving": list(expiry.leaving), "staying": dict(expiry.staying)})
        return 0
    staying = ", ".join(f"{version} ({why})" for version, why in expiry.staying.items())
    leaving = ", ".join(map(str, expiry.leaving)) or "none"
    print_pairs([("set", name), ("left" if args.yes else "would leave", leaving), ("stay", staying)])
    print("\ntheir files stay until `permafrost store gc`" if args.yes and expiry.leaving else _note(args.yes))
    return 0


def run_gc(args: argparse.Namespace) -> int:
    name = parse_set(args.target)
    grace = age_seconds(args.grace, "--grace")
    if grace < LEAST_GRACE_SECONDS:
        raise UsageError(
            f"--grace {args.grace}: expected 1m at least, and longer than any import, copy or commit takes: a writer at work needs the "
            "files that it is about to list"
        )
    found = collect_garbage(name, args.yes, grace)
    if args.json:
        print_json({"set": str(name), "done": args.yes, "files": list(found.files), "bytes": found.bytes, "kept_young": found.kept_young})
        return 0
    what = f"{len(found.files)} files ({human_bytes(found.bytes)})"
    young = [("young", f"{found.kept_young} files stay: they are younger than --grace {args.grace}")] if found.kept_young else []
    print_pairs([("set", name), ("deleted" if args.yes else "would delete", what), *young])
    print(_note(args.yes))
    return 0


def run_compact(args: argparse.Namespace) -> int:
    name = parse_set(args.target)
    done = compact_set(name, args.yes)
    if args.json:
        print_json({"set": str(name), "done": args.yes, **asdict(done)})
        return 0
    before, after = (
        f"{sizes.files} shards, {human_bytes(sizes.bytes)}, {sizes.embeddings} embeddings" for sizes in (done.before, done.after)
    )
    if not done.merged:
        print_pairs([("set", name), ("shards", f"{before}: there is nothing to compact")])
        return 0
    about = "" if args.yes else "about "
    version = [("version", f"{done.version}; older ones keep their shards until `store expire` and `store gc`")] if done.version else []
    what = f"{done.merged} shards, without {done.dropped} embeddings that no item points at"
    print_pairs([("set", name), ("merged" if args.yes else "would merge", what), ("before", before), ("after", about + after), *version])
    print(_note(args.yes))
    return 0


def run_rm(args: argparse.Namespace) -> int:
    name = parse_set(args.target)
    heads = [head.name for head in heads_on(name)]  # while there is a set that they can be of
    unread = unread_heads(name.root)
    files = remove_set(name, args.yes)
    for head, why in unread.items():
        warn(f"head {head} may have been fitted on it, for its head.json {why}: it stays in {name.root}/{HEADS}")
    if args.json:
        print_json({"set": str(name), "done": args.yes, "files": files, "heads": heads, "unread_heads": list(unread)})
        return 0
    stay = [("heads", f"{', '.join(heads)}: fitted on it, and stay in {name.root}/{HEADS}")] if heads else []
    print_pairs([("set", name), ("removed" if args.yes else "would remove", f"{files} files: all versions, tags and runs"), *stay])
    print(_note(args.yes))
    return 0


def age_seconds(text: str, option: str) -> float:
    """0s, 30m, 12h, 30d, 2w. Raises UsageError."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhdw])", text)
    if not found:
        raise UsageError(f"{option} {text!r}: expected a number with s, m, h, d or w, such as 30d")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds > MAX_AGE_SECONDS:
        raise UsageError(f"{option} {text}: expected a hundred years at most")
    return seconds


def _note(done: bool) -> str:
    return "" if done else "\nnothing was changed: give --yes to do it"
