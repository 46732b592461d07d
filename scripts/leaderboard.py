"""`permafrost leaderboard`: the heads of a store that answered the same questions, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path, PurePath

from scripts.console import import_tensorflow, print_json, print_table, visible, warn
from scripts.store_verify import EXIT_DAMAGED
from storage.errors import NotFoundError, UsageError
from storage.files import list_names
from storage.heads import FOLDER, descriptions
from storage.leaderboard import Board, Leaderboards, leaderboards
from storage.names import parse_root
from storage.place import Place
from storage.store import is_behind_web, require_store


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "leaderboard",
        help="compare the heads of a store",
        description="The heads of a store, best first, in one table for each set of test items: numbers of different items are not ranked.",
        epilog="example: permafrost leaderboard features --labels labels.csv",
    )
    parser.add_argument("root", metavar="ROOT", help="the store")
    parser.add_argument(
        "--labels", metavar="FILE", help="only heads fitted with these labels: with this file, or one of the same label set"
    )
    parser.add_argument("--set", metavar="TEAM/SET", help="only heads fitted on this feature set")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.labels and not Path(args.labels).is_file():
        raise NotFoundError(f"no such label file: {args.labels}")
    root = parse_root(args.root)
    if is_behind_web(root):
        raise UsageError(f"{root} is behind a web server, which lists no heads: name the store's own folder or bucket")
    of_set = args.set and _team_and_set(args.set)
    labels = Path(args.labels) if args.labels else None
    found = leaderboards(root, of_set, labels)
    if labels and not found.boards and leaderboards(root, of_set).boards:
        found = _by_label_set(root, of_set, labels)
    boards = found.boards
    for name, why in found.damaged.items():
        warn(f"the head {name} is not ranked: {visible(why)}. Train it again, or restore it from a copy")
    if not boards:
        if not list_names(root / FOLDER):
            require_store(root)
        which = "".join([f" on {args.set}" if args.set else "", f" with the labels of {args.labels}" if args.labels else ""])
        how = " (neither with this very file, nor with the same labels for the items of its set)" if args.labels else ""
        raise NotFoundError(
            f"no tested head{which} in {args.root}/heads{how}: `permafrost train ... --out {args.root}/heads/TEAM/HEAD` makes one"
        )
    if args.json:
        print_json({"boards": [board.to_dict() for board in boards], "damaged": dict(found.damaged)})
        return EXIT_DAMAGED if found.damaged else 0
    for number, board in enumerate(boards):
        print("\n" * bool(number), end="")
        _print(board)
    if len(boards) > 1:
        warn("heads of different tables were tested on different items: their numbers cannot be compared")
    return EXIT_DAMAGED if found.damaged else 0


def _by_label_set(root: Place, of_set: str | None, labels: Path) -> Leaderboards:
    """By what the file says of the items of the heads' sets: one more blank line makes another file, and the same labels."""
    import_tensorflow()
    from trainer.labels_again import label_sets_of

    found = leaderboards(root, of_set, labels, label_sets_of((value for _, value in descriptions(root)), root, labels))
    if found.boards:
        warn(f"no head was fitted with the very file {labels}: shown are those with the same labels for the items of their sets")
    return found


def _team_and_set(text: str) -> str:
    """TEAM/SET, of that or of a set's whole name; heads of all its versions are compared. Raises UsageError."""
    parts = text.rstrip("/").partition("@")[0].split("/")
    if len(parts) < 2 or not all(parts[-2:]):
        raise UsageError(f"--set takes TEAM/SET, such as products/resnet50; got {text!r}")
    return "/".join(parts[-2:])


def _print(board: Board) -> None:
    first = board.standings[0]
    title = (
        f"{first.rows} test items {board.tested[:12]}, labels of {visible(first.label_source)}"
        if board.tested
        else "tested on unknown items"
    )
    rows = [
        (
            number if board.tested else "",
            each.name,
            each.measure.replace("mean_average_precision", "mAP"),
            each.score,
            f"{each.interval[0]:.3f} to {each.interval[1]:.3f}" if each.interval else "",
            f"{each.set}@{each.version}" if each.version else each.set,
            each.kind,
            PurePath(visible(each.backbone)).name,
            each.space_id[:8],
            each.created[:10],
        )
        for number, each in enumerate(board.standings, 1)
    ]
    print(title)
    print_table(["", "head", "measure", "", "95%", "set", "kind", "backbone", "space", "fitted"], rows)
