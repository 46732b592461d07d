"""`permafrost store import`: embeddings from elsewhere become a version of a set."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.console import counts_text, human_bytes, print_json, print_pairs, share, visible, warn
from storage.flat_file import FlatNames
from storage.import_features import ImportResult, import_features
from storage.import_options import APPEND, MIRROR, PENDING, REPLACE, ImportOptions
from storage.more import and_more
from storage.shard import SHARD_FORMATS
from storage.shard_layout import STORED_DTYPES

EXIT_INCOMPLETE = 3


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    action = actions.add_parser(
        "import",
        help="make a version of embeddings from elsewhere",
        description="Mirror the rows of a file in a feature set: .npy with --keys, .npz, .parquet or .h5. Importing again mirrors anew; "
        "with --append, --replace or --pending the other items stay.",
        epilog="example: permafrost store import clip.npz features/me/clip --space clip.json",
    )
    action.add_argument("file", metavar="FILE", help="embeddings with keys; an export of ours brings its space, other files need one")
    action.add_argument("set", metavar="ROOT/TEAM/SET", help="the feature set: store folder, team and set name")
    space_help = "the feature space: a JSON object with the origin of the embeddings (model, weights, preprocessing, ...)"
    action.add_argument("--space", type=Path, metavar="FILE.json", help=space_help)
    action.add_argument("--like", metavar="ROOT/TEAM/SET", help="the embeddings are in the space of that set; its golden images come along")
    action.add_argument("--keys", type=Path, metavar="FILE", help="keys of an .npy file, one a line")
    action.add_argument("--key-column", metavar="NAME", help="column, dataset or member with the keys (default key; in npz keys)")
    embedding_help = "column, dataset or member with the embeddings (default embedding; in npz embeddings)"
    action.add_argument("--embedding-column", metavar="NAME", help=embedding_help)
    images_help = "folder in which the keys are files: their sha256 are the digests (default: the digest column, else stand-ins)"
    action.add_argument("--images", type=Path, metavar="FOLDER", help=images_help)
    action.add_argument("--dtype", choices=STORED_DTYPES, help="of the stored embeddings (default: that of the set, or of the file)")
    action.add_argument("--format", choices=sorted(SHARD_FORMATS), help="of the shards of a new set (default parquet)")
    action.add_argument("--corpus-id", metavar="ID", help="name of the corpus in the set (default: that of an export, else imported)")
    action.add_argument("--corpus", metavar="ID", help="only the rows of this one of several corpora in an export")
    how = action.add_mutually_exclusive_group()
    append_help = "add the rows to the corpus, whose other items stay (default: the rows become the corpus)"
    how.add_argument("--append", dest="mode", action="store_const", const=APPEND, default=MIRROR, help=append_help)
    replace_help = "put the rows in the place of the corpus' items of these keys; the others stay, and so do labels without a column here"
    how.add_argument("--replace", dest="mode", action="store_const", const=REPLACE, help=replace_help)
    pending_help = "bring back the rows that are pending since a repair gave them up, as they were; nothing else changes"
    how.add_argument("--pending", dest="mode", action="store_const", const=PENDING, help=pending_help)
    action.add_argument("--add", action="store_true", help="put the corpus into a set that holds others")
    action.add_argument("--max-rejects", type=share, default=0.01, metavar="SHARE", help="more rejects mean exit code 3 (default 1%%)")
    action.add_argument("--json", action="store_true", help="print one JSON document")
    action.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    names = FlatNames(args.key_column, args.embedding_column)
    options = ImportOptions(
        names, args.keys, args.space, args.like, args.images, args.dtype, args.format, args.corpus_id, args.corpus, args.add, args.mode
    )
    result = import_features(Path(args.file), args.set, options)
    if not result.golden:
        warn("the set has no golden images, since nothing was embedded here: drift of the network cannot be seen")
    if result.differing:
        warn(f"{result.differing} rows have the digest of an earlier row and another embedding; the earlier one stands for both")
    if result.left_out:
        told = ", ".join(visible(name) or "a column without a name" for name in result.left_out)
        warn(f"not kept as attributes: {told} (names of the set's own, or no short value a row)")
    if args.mode == PENDING and not result.listed:
        warn(f"no item of the corpus is pending in version {result.version}, so nothing was to be brought back")
    if args.json:
        print_json(result.to_dict())
    else:
        _print(result)
    return EXIT_INCOMPLETE if result.rejected > args.max_rejects * result.listed else 0


def _print(result: ImportResult) -> None:
    version = f"{result.version}" + ("" if result.committed else " (nothing has changed, no new version)")
    account = f"{result.listed} listed = {result.rows} rows + {result.rejected} rejected + {result.pending} pending"
    stand_ins = result.listed - result.image_digests
    pairs: list[tuple[str, object]] = [("set", result.set), ("version", version), ("account", account)]
    if result.before:
        gone = f"; {result.left} of those before have left: they are no good rows of the file" if result.left else ""
        pairs.append(("corpus", f"{result.before} rows before, {result.after} now{gone}"))
    if result.reasons:
        pairs.append(("reasons", counts_text(dict(result.reasons))))
    if result.kept:
        stay = f"{visible(result.kept[0])}{and_more(result.kept)}: the new embedding cannot be stored, and the item that was there stays"
        pairs.append(("not replaced", stay))
    if result.skipped:
        pairs.append(("skipped", counts_text(dict(result.skipped))))
    digests = f"{result.image_digests} of images, {stand_ins} stand-ins (which hit no cache), {result.copies} repeated"
    shards = ("new shards", f"{result.shards} ({human_bytes(result.bytes)})")
    new = result.rows - result.copies - result.held
    others = f", {result.others} of these with other bytes than it had of the same image or key" if result.others else ""
    embeddings = ("embeddings", f"{result.held} the set had (nothing was written for them), {new} it had not{others}")
    print_pairs([*pairs, ("digests", digests), embeddings, shards, ("feature space", result.space_id)])
