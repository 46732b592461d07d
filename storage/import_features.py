"""Embeddings from elsewhere become a version of a set: the same accounting, the same commit, and a space that is known or stated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from storage.changes import change_of
from storage.commit import create_set, open_newest
from storage.draft import Settled, commit_state, write_state
from storage.errors import ConflictError, NotFoundError, UsageError
from storage.feature_set import FeatureSet, SetDescription
from storage.files import FileEntry
from storage.flat_file import FlatFile, open_flat
from storage.golden import no_golden_images, write_golden
from storage.import_columns import attribute_names, read_attributes
from storage.import_options import APPEND, MIRROR, PENDING, REPLACE, ImportOptions
from storage.import_rows import Imported, Row, read_rows, without_taken, write_rows
from storage.import_source import Source, corpus_of_file, require_fit, set_for, source_of
from storage.item_change import commit_change
from storage.items import sorted_items
from storage.kept_columns import keep_columns
from storage.manifest import CorpusState, Manifest
from storage.names import SetName, parse_set
from storage.pending_items import NOT_PENDING, PendingItems, pending_items
from storage.shard import shard_format
from storage.shard_layout import ShardLayout
from storage.stated_space import STATED
from storage.store import require_writable
from storage.tombstones import TAKEN_DOWN, Tombstones, read_tombstones


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
    before: int = 0  # rows that the corpus had
    after: int = 0  # rows that it has now
    left: int = 0  # of those that it had, such as a mirror took out: they are not among the rows of the file, or are rejects now

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Job:
    """What is to be written. rows: of the file, None for those that are passed over, which `skipped` counts by reason."""

    name: SetName
    options: ImportOptions
    flat: FlatFile
    source: Source
    corpus: str
    base: FeatureSet | None
    stones: Tombstones
    rows: list[Row | None]
    skipped: Counter[str]
    pending: PendingItems | None

    @property
    def before(self) -> Manifest | None:
        return self.base.manifest if self.base else None

    @property
    def state(self) -> CorpusState | None:
        """The corpus before."""
        return self.before.corpora.get(self.corpus) if self.before else None

    @property
    def file(self) -> str:
        return str(self.flat.path.absolute())


@dataclass(frozen=True)
class _Done:
    """The version that has the rows. listed: of the file; items: how many became items; left: how many the corpus had, and has no more;
    kept: as in `ImportResult`."""

    manifest: Manifest
    is_new: bool
    listed: int
    items: int
    left: int = 0
    kept: tuple[str, ...] = ()


def import_features(file: str | Path, uri: str | Path, options: ImportOptions = ImportOptions()) -> ImportResult:
    """Mirror the rows of a file (.npy with keys, .npz, .parquet, .h5) as a corpus of the set `ROOT/TEAM/SET`, or put them into one.

    Memory: the keys and attributes, and a batch of embeddings. Raises UsageError (also for files that do not hold embeddings),
    NotFoundError, DamagedError, SpaceMismatchError, ConflictError.
    """
    name = parse_set(uri)
    if name.at:
        raise UsageError(f"{uri}: an import makes the next version; leave out '@{name.at}'")
    require_writable(name.root)
    with closing(open_flat(Path(file), options.names, options.keys)) as flat:
        job = _job(flat, name, options)
        description = _description(job)
        attributes, left_out = attribute_names(flat)
        imported = Imported(job.corpus, read_attributes(flat, attributes))
        if job.base and options.mode == PENDING and not job.pending:
            return _result(job, imported, _Done(job.base.manifest, False, 0, 0), left_out)
        _write(job, imported, description)
    return _result(job, imported, _commit(job, imported, description), left_out)


def _job(flat: FlatFile, name: SetName, options: ImportOptions) -> _Job:
    """Choose the rows and look at the set that they are for."""
    if not flat.rows:
        raise UsageError(f"{flat.path} has no rows, so there is nothing to import")
    source = source_of(flat, options, name)
    corpus = options.corpus_id or options.corpus or corpus_of_file(flat)
    stones = read_tombstones(name)
    rows, taken = without_taken(read_rows(flat, options.images, options.corpus), stones, corpus)
    if not any(rows) and not taken:
        raise UsageError(f"{flat.path} has no rows of the corpus {options.corpus!r}")
    base, skipped, pending = open_newest(name), Counter(taken), None
    if options.mode in (REPLACE, PENDING) and not base:
        raise NotFoundError(f"there is no version of {name.folder} yet: leave out --{options.mode} to make one of {flat.path}")
    if options.mode == PENDING and base:
        pending = pending_items(base, corpus)
        rows, skipped[NOT_PENDING] = pending.chosen(rows, str(flat.path)) if pending else _none_of(rows)
    return _Job(name, options, flat, source, corpus, base, stones, rows, skipped, pending)


def _none_of(rows: Sequence[Row | None]) -> tuple[list[Row | None], int]:
    return [None] * len(rows), len(rows) - rows.count(None)


def _description(job: _Job) -> SetDescription:
    """Of the set that is there, or of the one to make, which fits the file."""
    if job.before:
        _acceptance(job)(job.before)
    description = set_for(job.name, job.flat, job.source, job.options)
    description.require_format(job.options.format, job.name)
    require_fit(description, job.name, job.flat, job.source)
    return description


def _write(job: _Job, imported: Imported, description: SetDescription) -> None:
    """Write the embeddings, and then make the set: a file that fails leaves none behind."""
    layout, kind = ShardLayout(description.shape, description.dtype, description.space.id), shard_format(description.shard_format)
    write_rows(job.flat, job.rows, imported, job.base, job.stones, job.name.folder, kind, layout)
    job.skipped[TAKEN_DOWN] += imported.taken
    if not imported.items and not imported.rejects:
        raise UsageError(f"all rows of {job.flat.path} were taken down in {job.name.root}: there is nothing to import")
    _require_any(imported, job.flat)
    require_fit(create_set(job.name, description), job.name, job.flat, job.source)


def _commit(job: _Job, imported: Imported, description: SetDescription) -> _Done:
    golden = job.source.golden or no_golden_images(description.shape, description.dtype)
    entry = job.before.golden if job.before else write_golden(golden, job.name.folder)
    items, there = keep_columns(sorted_items(imported.items_table()), job.flat.further, job.state, job.name.folder)
    if job.options.mode == MIRROR:
        return _mirror(job, imported, items, there, entry, description.space.id)
    return _change(job, imported, items, entry, description.space.id)


def _mirror(job: _Job, imported: Imported, items: pa.Table, there: int, golden: FileEntry, space_id: str) -> _Done:
    """The rows become the corpus. there: how many of the items it had."""
    listed, shards = len(imported.items) + len(imported.rejects), job.before.shards if job.before else ()
    settled = Settled(job.corpus, job.file, listed, [items], [imported.rejects_table()], skipped=dict(+job.skipped))
    after = write_state(settled, job.name, job.before)
    manifest = commit_state(
        job.name, job.before, job.corpus, after, [*shards, *imported.shards], golden, space_id, _provenance(job), _acceptance(job)
    )
    return _Done(manifest, manifest is not job.before, listed, items.num_rows, job.state.rows - there if job.state else 0)


def _change(job: _Job, imported: Imported, items: pa.Table, golden: FileEntry, space_id: str) -> _Done:
    """The rows are put into the corpus, whose other items stay."""
    are_new = job.options.mode == APPEND
    change = job.pending.change(imported) if job.pending else change_of(imported, items, job.file, are_new)
    others = items.num_rows - change.items.num_rows  # other embeddings than those that are pending
    job.skipped[NOT_PENDING] += others
    manifest, is_new = commit_change(job.name, job.before, change, golden, space_id, _provenance(job))
    listed = len(imported.items) + len(imported.rejects) - others
    return _Done(manifest, is_new, listed, change.items.num_rows, kept=change.staying)


def _provenance(job: _Job) -> dict[str, object]:
    return {
        "operation": job.options.operation,
        "environment": {"engine": "unknown (imported)", "numpy": np.__version__},
        "file": job.flat.path.name,
        "space": "of the export" if job.flat.origin else STATED,
    }


def _result(job: _Job, imported: Imported, done: _Done, left_out: Sequence[str]) -> ImportResult:
    new = set(done.manifest.shards) & set(imported.shards) - set(job.before.shards if job.before else ())
    return ImportResult(
        set=str(job.name),
        version=done.manifest.version,
        committed=done.is_new,
        listed=done.listed,
        rows=done.items,
        rejected=len(imported.rejects),
        pending=0,
        reasons=imported.reasons,
        copies=imported.copies,
        differing=imported.differing,
        held=imported.held,
        others=imported.others,
        image_digests=sum(row.digest is not None for row in job.rows if row),
        left_out=tuple(left_out),
        golden=done.manifest.golden.rows,
        shards=len(new),
        bytes=sum(shard.bytes for shard in new),
        space_id=done.manifest.space_id,
        skipped=dict(+job.skipped),
        kept=done.kept,
        before=job.state.rows if job.state else 0,
        after=done.manifest.corpora[job.corpus].rows,
        left=done.left,
    )


def _require_any(imported: Imported, flat: FlatFile) -> None:
    """A file of which nothing can be used is a mistake, and must not take the place of a good version. Raises UsageError."""
    if not imported.items:
        row, reason, message = imported.rejects[0]
        raise UsageError(f"no row of {flat.path} can be imported; the first, {row.key!r}, is {reason}: {message}")


def _acceptance(job: _Job) -> Callable[[Manifest], None]:
    """Raises ConflictError for versions that do not hold the corpus, unless it may be added."""

    def accept(manifest: Manifest) -> None:
        if job.options.add or job.options.mode != MIRROR or job.corpus in manifest.corpora:
            return
        for known, state in manifest.corpora.items():
            raise ConflictError(
                f"{job.name.folder} mirrors corpus {known!r} ({state.source}), not {job.corpus!r}. To put the rows of this file in its "
                f"place pass --corpus-id {known}; to have both in the set pass --add"
            )

    return accept
