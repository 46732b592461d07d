"""`permafrost store takedown`: images, or items by their keys, leave every version. Without `--yes` it only says what it would do."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.console import print_json, print_pairs, print_table, visible
from scripts.words import any_text
from storage.errors import UsageError
from storage.files import exists
from storage.names import SetName, parse_root, parse_set
from storage.place import Place
from storage.store import STORE_FILE, require_store
from storage.takedown import Request, Takedown, image_digest, take_down

EXIT_UNREACHED = 3


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    action = actions.add_parser(
        "takedown",
        help="remove images, or items by their keys, from every version of a set or of all sets",
        description="Remove images from every version of all sets of a store, or of one; or items by their keys from one set. What is "
        "removed does not come back with the next extraction. Exit code 3: done, but something could not be reached or nothing had it, "
        "and is named.",
        epilog="example: permafrost store takedown features --image photo.jpg --yes",
    )
    action.add_argument("target", metavar="ROOT[/TEAM/SET]", help="all sets of a store, or one; for --key one")
    action.add_argument(
        "--image", action="append", default=[], metavar="SHA256|FILE", help="the sha256 of an image's bytes, or its file; repeatable"
    )
    action.add_argument("--images", metavar="FILE", help="a text file with one sha256 or image file a line")
    action.add_argument("--key", type=any_text, action="append", default=[], metavar="KEY", help="of an item; repeatable")
    action.add_argument("--keys", metavar="FILE", help="a text file with one key a line")
    action.add_argument("--corpus", metavar="ID", help="take the keys out of this corpus alone")
    action.add_argument("--yes", action="store_true", help="do it; without it, only say what would be done")
    action.add_argument("--json", action="store_true", help="print one JSON document")
    action.set_defaults(run=run, goes_on=True)


def run(args: argparse.Namespace) -> int:
    images = tuple(image_digest(text) for text in (*args.image, *filter(None, _lines(args.images))))
    request = Request(images, (*args.key, *_lines(args.keys)), args.corpus)
    root, name = _target(args.target)
    found = take_down(root, name, request, args.yes)
    if args.json:
        print_json({"target": args.target, **found.to_dict()})
    else:
        _print(found, args.target)
    return EXIT_UNREACHED if found.done and (found.unreached or found.not_found) else 0


def _target(text: str) -> tuple[Place, SetName | None]:
    """(the store, the set or None for all of them)."""
    root = parse_root(text.rstrip("/") or text)
    if exists(root / STORE_FILE):
        return root, None
    try:
        name = parse_set(text)
    except UsageError:
        require_store(root)  # says that it is no store, which is likelier to help
        raise
    return name.root, name


def _lines(file: str | None) -> list[str]:
    if file is None:
        return []
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read as text: {error}") from None
    if not any(lines):
        raise UsageError(f"{file} is empty: expected what to take down, one a line")
    return lines


def _print(found: Takedown, target: str) -> None:
    print_pairs([("target", target), ("takedown", found.id), ("done" if found.done else "would do", _summary(found))])
    rows = [(each.set, loss.version, loss.items, loss.rejects) for each in found.sets for loss in each.versions]
    if rows:
        print()
        print_table(["set", "version", "items", "rejects"], rows)
    if found.not_found:
        print("\nnothing had (is it written rightly?):")
        print("\n".join(f"- {visible(text)}" for text in found.not_found))
    if found.unreached:
        print("\nnot reached:" if found.done else "\nwould not be reached:")
        print("\n".join(f"- {visible(text)}" for text in found.unreached))
    print("\nout of reach of this command:")
    print("\n".join(f"- {visible(text)}" for text in found.beyond))
    if not found.done:
        print("\nnothing was changed: give --yes to do it")


def _summary(found: Takedown) -> str:
    if not found.anything:
        return "nothing holds it; it is kept out from now on" if found.done else "nothing holds it; it would be kept out from then on"
    files = sum(len(each.files) for each in found.sets)
    logs = sum(len(each.logs) for each in found.sets)
    versions = sum(len(each.versions) for each in found.sets)
    cached = f", {found.cached} files of the cache" if found.cached else ""
    return f"{versions} versions, {files} files of sets, {logs} files of runs{cached}"
