"""Embeddings from elsewhere become a version of a set: the same accounting, the same commit, and a space that is known or stated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from storage.changes import DEFAULT_CORPUS, change_of
from storage.commit import create_set, open_newest
from storage.draft import Settled, commit_state, write_state
from storage.errors import ConflictError, UsageError
from storage.feature_set import SetDescription, open_set, read_description
from storage.files import exists
from storage.flat_file import FlatFile, open_flat, text_cell
from storage.golden import GoldenImages, no_golden_images, write_golden
from storage.import_columns import attribute_names, own_column, read_attributes
from storage.import_options import APPEND, MIRROR, PENDING, ImportOptions
from storage.import_rows import Imported, read_rows, without_taken, write_rows
from storage.item_change import commit_change
from storage.items import sorted_items
from storage.kept_columns import keep_columns
from storage.manifest import Manifest
from storage.names import SetName, parse_set
from storage.origin import Origin
from storage.pending_items import NOT_PENDING, PendingItems
from storage.shard import DEFAULT_FORMAT, shard_format
from storage.shard_layout import ShardLayout
from storage.space import Space, require_same_space
from storage.stated_space import STATED, read_space
from storage.store import require_possible_root, require_writable
from storage.tombstones import TAKEN_DOWN, read_tombstones


@dataclass(frozen=True)
class ImportResult:
    """Of the rows of the file. listed = rows + rejected + pending, and pending is 0: an import reads its file to the end or fails."""

    set: str
    version: int
    committed: bool  # False: the set held exactly this already
    listed: int
    rows: int
    rejected: int
    pending: int
    reasons: Mapping[str, int]
    copies: int  # rows with the digest of an earlier row, whose embedding they share
    differing: int  # of these, rows whose own embedding was another one
    held: int  # of the others, rows whose embedding the set had, with the same bytes: nothing was written for them
    others: int  # and rows with another embedding than the set had of the same image, or of the same key where no image is known
    image_digests: int  # rows with the digest of an image; the others have stand-ins and hit no cache
    left_out: tuple[str, ...]  # columns that are not kept as attributes
    golden: int  # golden images of the set
    shards: int  # new ones
    bytes: int  # of these
    space_id: str
    skipped: Mapping[str, int] = field(default_factory=dict)  # rows that are passed over, by reason: those that were taken down
    kept: tuple[str, ...] = ()  # keys to replace whose new embedding is a reject: the items that the set had of them stay

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Source:
    """The space that the embeddings are in, the recipe that goes with it, and golden images if any are known."""

    space: Space
    backbone: Mapping[str, Any]
    golden: GoldenImages | None = None


def import_features(file: Path, uri: str | Path, options: ImportOptions = ImportOptions()) -> ImportResult:
    """Mirror the rows of a file (.npy with keys, .npz, .parquet, .h5) as a corpus of the set `ROOT/TEAM/SET`, or put them into one.

    Memory: the keys and attributes, and a batch of embeddings. Raises UsageError (also for files that do not hold embeddings),
    NotFoundError, DamagedError, SpaceMismatchError, ConflictError.
    """
    name = parse_set(uri)
    if name.at:
        raise UsageError(f"{uri}: an import makes the next version; leave out '@{name.at}'")
    require_writable(name.root)
    with closing(open_flat(file, options.names, options.keys)) as flat:
        if not flat.rows:
            raise UsageError(f"{file} has no rows, so there is nothing to import")
        source = _source(flat, options, name)
        corpus = options.corpus_id or options.corpus or _corpus_of(flat)
        stones = read_tombstones(name)
        rows, taken = without_taken(read_rows(flat, options.images, options.corpus), stones, corpus)
        skipped = Counter(taken)
        if not any(rows) and not skipped:
            raise UsageError(f"{file} has no rows of the corpus {options.corpus!r}")
        base = open_newest(name)
        pending = PendingItems(base, corpus) if options.mode == PENDING else None
        if pending:
            rows, skipped[NOT_PENDING] = pending.chosen(rows, str(file))
        chosen = [row for row in rows if row]
        accept = _acceptance(name, corpus, options.add or options.mode != MIRROR)
        if base:
            accept(base.manifest)
        description = _set_for(name, flat, source, options)
        description.require_format(options.format, name)
        _require_fit(description, name, flat, source)
        layout = ShardLayout(description.shape, description.dtype, description.space.id)
        kept, left_out = attribute_names(flat)
        imported = Imported(corpus, read_attributes(flat, kept))
        write_rows(flat, rows, imported, base, stones, name.folder, shard_format(description.shard_format), layout)
        skipped[TAKEN_DOWN] += imported.taken
        listed = len(chosen) - imported.taken
        if not listed:
            raise UsageError(f"all rows of {file} were taken down in {name.root}: there is nothing to import")
        _require_any(imported, flat)
        _require_fit(create_set(name, description), name, flat, source)  # only now: a file that fails leaves no set behind
    golden = source.golden or no_golden_images(description.shape, description.dtype)
    golden_entry = base.manifest.golden if base else write_golden(golden, name.folder)
    provenance = {
        "operation": options.operation,
        "environment": {"engine": "unknown (imported)", "numpy": np.__version__},
        "file": file.name,
        "space": "of the export" if flat.origin else STATED,
    }
    there = base.manifest.shards if base else ()
    before, space_id, source_path = base.manifest if base else None, description.space.id, str(file.absolute())
    state = before.corpora.get(corpus) if before else None
    items, rejects = keep_columns(sorted_items(imported.items_table()), flat.further, state, name.folder), imported.rejects_table()
    staying: tuple[str, ...] = ()
    if options.mode == MIRROR:
        after = write_state(Settled(corpus, source_path, listed, [items], [rejects], skipped=dict(+skipped)), name, before)
        manifest = commit_state(name, before, corpus, after, [*there, *imported.shards], golden_entry, space_id, provenance, accept)
        is_new = manifest is not before
    else:
        change = pending.change(imported) if pending else change_of(imported, items, source_path, are_new=options.mode == APPEND)
        others = items.num_rows - change.items.num_rows  # other embeddings than those that are pending
        listed, items, staying = listed - others, change.items, change.staying
        skipped[NOT_PENDING] += others
        manifest, is_new = commit_change(name, before, change, golden_entry, space_id, provenance)
    new_shards = set(manifest.shards) & set(imported.shards) - set(there)
    return ImportResult(
        str(name), manifest.version, is_new, listed, items.num_rows, rejects.num_rows, 0,
        imported.reasons, imported.copies, imported.differing, imported.held, imported.others,
        sum(row.digest is not None for row in chosen), tuple(left_out), manifest.golden.rows,
        len(new_shards), sum(shard.bytes for shard in new_shards), space_id, dict(+skipped), staying,
    )  # fmt: skip


def _source(flat: FlatFile, options: ImportOptions, name: SetName) -> _Source:
    if options.like:
        other = open_set(options.like)
        source = _Source(
            other.description.plain.space, other.description.plain.backbone, other.golden().plain
        )  # a file has one embedding a row
        if flat.shape != other.shape:
            raise UsageError(f"{flat.path} holds embeddings of shape {list(flat.shape)}, {options.like} of {list(other.shape)}")
    elif options.space:
        source = _Source(*read_space(options.space, options.dtype or _usual_dtype(flat, name)))
    elif flat.origin:
        source = _Source(flat.origin.space, flat.origin.backbone)
    else:
        raise UsageError(
            f"{flat.path} does not say which feature space its embeddings are in: pass --space FILE.json with a statement of their origin "
            '(such as {"model": ..., "weights": ..., "preprocessing": ...}), or --like ROOT/TEAM/SET if they are in the space of that set'
        )
    if flat.origin:
        _require_own_space(flat, flat.origin, source)
    if options.dtype and source.space.dtype != options.dtype:
        raise UsageError(f"the feature space stores {source.space.dtype}; leave out --dtype {options.dtype}")
    return source


def _usual_dtype(flat: FlatFile, name: SetName) -> str:
    """That of the set that is there; else that of the file, as far as it can be stored."""
    if exists(name.folder / "set.json"):
        return read_description(name).dtype
    return "float16" if flat.dtype.itemsize == 2 else "float32"


def _require_own_space(flat: FlatFile, origin: Origin, source: _Source) -> None:
    way_out = "The file says itself which space it is in: leave out --space and --like"
    require_same_space(origin.space, source.space, f"the file {flat.path}", "the space that was passed", way_out)


def _corpus_of(flat: FlatFile) -> str:
    """The corpus of an export, so that a set can come back as it went; else the one that imports have."""
    if not flat.origin:
        return DEFAULT_CORPUS
    corpora = sorted({text for value in own_column(flat, "corpus") if (text := text_cell(value, flat.path))})
    if len(corpora) > 1:
        raise UsageError(
            f"{flat.path} holds the corpora {', '.join(corpora)}: pass --corpus ID to import one of them (and --add with each further "
            "one), or --corpus-id ID to make one corpus of all of them"
        )
    return corpora[0] if corpora else DEFAULT_CORPUS


def _set_for(name: SetName, flat: FlatFile, source: _Source, options: ImportOptions) -> SetDescription:
    """The set that is there, or the one to make."""
    require_possible_root(name.root)
    if exists(name.folder / "set.json"):
        return read_description(name)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return SetDescription(source.space, options.format or DEFAULT_FORMAT, flat.shape, source.space.dtype, source.backbone, created)


def _require_fit(description: SetDescription, name: SetName, flat: FlatFile, source: _Source) -> None:
    way_out = "Choose another set name, or state the space that the embeddings are really in"
    require_same_space(description.space, source.space, f"the set {name.folder}", f"the file {flat.path}", way_out)
    if description.shape != flat.shape:
        raise UsageError(f"{flat.path} holds embeddings of shape {list(flat.shape)}, the set {name.folder} of {list(description.shape)}")


def _require_any(imported: Imported, flat: FlatFile) -> None:
    """A file of which nothing can be used is a mistake, and must not take the place of a good version. Raises UsageError."""
    if not imported.items:
        row, reason, message = imported.rejects[0]
        raise UsageError(f"no row of {flat.path} can be imported; the first, {row.key!r}, is {reason}: {message}")


def _acceptance(name: SetName, corpus: str, add: bool) -> Callable[[Manifest], None]:
    """Raises ConflictError for versions that do not hold the corpus, unless it may be added."""

    def accept(manifest: Manifest) -> None:
        if add or corpus in manifest.corpora:
            return
        for known, state in manifest.corpora.items():
            raise ConflictError(
                f"{name.folder} mirrors corpus {known!r} ({state.source}), not {corpus!r}. To put the rows of this file in its place pass "
                f"--corpus-id {known}; to have both in the set pass --add"
            )

    return accept
