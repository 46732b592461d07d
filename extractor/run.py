"""One extraction, start to end: list, compare, embed what is new, account for everything, commit."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from extractor.corpus import Listing, list_folder
from extractor.diff import Known, diff
from extractor.executor import Executor
from extractor.golden_images import draw_golden_images
from extractor.job import Job, WorkerInfo
from extractor.ledger import Ledger, Standing, add_shard, known_items
from extractor.plan import Unit, make_units
from extractor.receipt import Receipt
from extractor.recipe import Recipe
from extractor.unit_queue import LostUnit
from storage.commit import commit, create_set, open_newest
from storage.errors import ConflictError, RunError, UsageError
from storage.feature_set import FeatureSet, SetDescription
from storage.files import FileEntry
from storage.golden import GoldenImages, write_golden
from storage.index import EmbeddingIndex, committed_index
from storage.items import write_items, write_table
from storage.manifest import CorpusState, Manifest
from storage.names import SetName, check_name, parse_set
from storage.runs import RunFolder, new_run_id, unfinished_runs
from storage.shard import embedding_bytes, shard_format
from storage.shard_layout import ShardLayout
from storage.space import require_same_space

MAX_UNSTORABLE = 0.001  # of the listed items; more means that the dtype is wrong, not the image
MAX_ROUNDS = 5  # of units for duplicates whose first copy sat in a lost unit


@dataclass(frozen=True)
class Progress:
    """`done` of `total` items to read; 0 when the workers are ready, then after each unit."""

    done: int
    total: int


def _silent(_: Progress) -> None:
    return None


@dataclass(frozen=True)
class ExtractOptions:
    recipe: Recipe
    format: str = "parquet"
    workers: int | None = None  # None: the executor's own choice
    local: bool = False  # True: threads of this process, without Ray
    ray_address: str | None = None
    corpus_id: str | None = None  # None: derived from the folder's location
    dry_run: bool = False
    max_rejects: float = 0.01  # share of the listed items above which the result counts as incomplete

    def __post_init__(self) -> None:
        shard_format(self.format)
        if self.workers is not None and not 1 <= self.workers <= 4096:
            raise UsageError(f"--workers must be 1 to 4096, got {self.workers}")
        if self.local and self.ray_address:
            raise UsageError("--local and --ray exclude each other: drop one of them")
        if not 0 <= self.max_rejects <= 1:
            raise UsageError(f"--max-rejects must be 0% to 100%, got {self.max_rejects:.0%}")
        if self.corpus_id is not None:
            check_name(self.corpus_id, "--corpus-id")


@dataclass(frozen=True)
class ExtractResult:
    """What the run did. listed = rows + rejected + pending for this corpus."""

    set: str
    corpus: str
    listed: int
    read: int  # files whose bytes were read
    embedded: int  # forward passes
    reused: int  # rows that needed no forward pass
    rows: int
    rejected: int
    pending: int
    skipped: dict[str, int]
    reasons: dict[str, int]  # rejects by reason
    new: int
    changed: int
    deleted: int
    seconds: float
    images_per_second: float  # embedded, over the time from first unit to last
    version: int | None  # None: a dry run of a set without versions
    committed: bool  # False: nothing had changed, `version` is the one that was there
    space_id: str
    shards: int  # new ones
    bytes: int  # of the new shards
    run: str
    workers: int
    complete: bool  # nothing pending, and rejects within --max-rejects
    to_read: int = 0  # a dry run: what would be read
    dry_run: bool = False
    stage_seconds: dict[str, float] = field(default_factory=dict)  # summed over workers

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def extract(corpus: str | Path, uri: str, options: ExtractOptions, on_progress: Callable[[Progress], None] = _silent) -> ExtractResult:
    """Mirror a folder of images into the feature set `ROOT/TEAM/SET` as a new version, embedding only what no version holds.

    Raises UsageError, NotFoundError, SpaceMismatchError (the set is in another space), DriftError, ConflictError, RunError.
    """
    started = time.perf_counter()
    name = parse_set(uri)
    if name.at:
        raise UsageError(f"{uri}: extraction makes a new version; leave out '@{name.at}'")
    listing = list_folder(corpus, options.corpus_id)
    executor = _make_executor(options)
    try:
        return _Run(name, listing, options, executor, started).go(on_progress)
    finally:
        executor.close()


def _make_executor(options: ExtractOptions) -> Executor:
    # Imported here: the local one brings TensorFlow into this process, the other one Ray, and a run needs one of them.
    if options.local:
        from extractor.local_executor import LocalExecutor

        return LocalExecutor(options.recipe, options.workers)
    from extractor.ray_executor import RayExecutor

    return RayExecutor(options.recipe, options.workers, options.ray_address)


class _Run:
    """The steps of one extraction, in the order of `go`."""

    def __init__(self, name: SetName, listing: Listing, options: ExtractOptions, executor: Executor, started: float) -> None:
        self.name, self.listing, self.options, self.executor, self.started = name, listing, options, executor, started
        self.folder = RunFolder(name.folder, new_run_id())

    def go(self, on_progress: Callable[[Progress], None]) -> ExtractResult:
        base = open_newest(self.name)
        if base:
            _require_known_corpus(base, self.listing)
        workers = self.executor.start()
        description = self._describe(workers[0])
        index, known = self._what_is_known(base)
        changes = diff(self.listing.items, known)
        ledger = Ledger(self.listing, changes, index)
        if base:
            _require_space(base.description, self.name, workers[0])
        if self.options.dry_run:
            return self._result(ledger, base.version if base else None, False, workers)
        golden = base.golden() if base else self._new_golden()
        description = create_set(self.name, description)
        _require_space(description, self.name, workers[0])
        golden_entry = base.manifest.golden if base else write_golden(golden, self.name.folder)
        job = self._job(description, golden)
        self.executor.begin(job, index.places)
        units = make_units(changes.to_read, embedding_bytes(description.shape, description.dtype))
        self._write_plan(units, base)
        work_started = time.perf_counter()
        lost = self._work(units, ledger, on_progress, embedding_bytes(description.shape, description.dtype))
        work_seconds = time.perf_counter() - work_started
        standing = ledger.settle()
        manifest = self._commit(base, standing, ledger, golden_entry, workers[0])
        result = self._result(ledger, manifest.version, manifest is not (base and base.manifest), workers, standing, work_seconds)
        self.folder.write_report({**result.to_dict(), "lost_units": [{"unit": unit.unit.id, "message": unit.message} for unit in lost]})
        return result

    def _describe(self, worker: WorkerInfo) -> SetDescription:
        recipe = self.options.recipe
        return SetDescription(worker.space, self.options.format, worker.shape, recipe.dtype, recipe.to_dict(), _now())

    def _what_is_known(self, base: FeatureSet | None) -> tuple[EmbeddingIndex, dict[str, Known]]:
        """Embeddings by digest and items by key, from the versions of the set and the finished units of runs that died."""
        index = committed_index(self.name)
        known: dict[str, Known] = {}
        for run in unfinished_runs(self.name):
            for table in run.receipts():
                receipt = Receipt.from_table(table)
                add_shard(index, receipt)
                if receipt.corpus == self.listing.corpus_id:
                    known |= known_items(receipt)
        known = {key: item for key, item in known.items() if item.reject or item.digest in index.places}
        if base:
            known |= _committed_items(base, self.listing.corpus_id)
        return index, known

    def _new_golden(self) -> GoldenImages:
        images = draw_golden_images()
        return GoldenImages(tuple(images), tuple(images.values()), self.executor.embed_images(tuple(images.values())))

    def _job(self, description: SetDescription, golden: GoldenImages) -> Job:
        layout = ShardLayout(description.shape, description.dtype, description.space.id)
        return Job(self.folder, self.listing.corpus_id, self.listing.source, description.shard_format, layout, golden)

    def _write_plan(self, units: Sequence[Unit], base: FeatureSet | None) -> None:
        self.folder.write_plan(
            {
                "run": self.folder.run_id,
                "started": _now(),
                "corpus": self.listing.corpus_id,
                "source": str(self.listing.source),
                "base_version": base.version if base else None,
                "options": asdict(self.options),
                "units": [{"id": u.id, "items": len(u.items), "first": u.items[0].key, "last": u.items[-1].key} for u in units],
            }
        )

    def _work(self, units: list[Unit], ledger: Ledger, on_progress: Callable[[Progress], None], bytes_each: int) -> list[LostUnit]:
        total = len(ledger.diff.to_read)
        done, lost, next_id = 0, [], len(units)
        on_progress(Progress(0, total))
        for _ in range(MAX_ROUNDS):
            for result in self._results(units, ledger):
                if isinstance(result, LostUnit):
                    lost.append(result)
                    done += len(result.unit.items)
                else:
                    done += result.items.num_rows
                on_progress(Progress(min(done, total), total))
            units = make_units(ledger.unresolved(), bytes_each, next_id)
            next_id += len(units)
            if not units:
                break
        return lost

    def _results(self, units: list[Unit], ledger: Ledger) -> Iterator[Receipt | LostUnit]:
        for result in self.executor.run(units):
            if isinstance(result, Receipt):
                ledger.add(result)
                _require_storable(ledger, self.options.recipe.dtype)
            yield result

    def _commit(self, base: FeatureSet | None, standing: Standing, ledger: Ledger, golden: FileEntry, worker: WorkerInfo) -> Manifest:
        """The new manifest, or the base's own object where nothing has changed."""
        state = self._corpus_state(standing)
        if base and base.manifest.corpora.get(self.listing.corpus_id) == state:
            return base.manifest
        used = set(state.shards)
        draft = Manifest(
            version=0,
            parent=None,
            nonce=secrets.token_hex(16),
            created=_now(),
            space_id=worker.space.id,
            shards=tuple(entry for sha256, entry in sorted(ledger.index.shards.items()) if sha256 in used),
            golden=golden,
            corpora={self.listing.corpus_id: state},
            provenance={
                "operation": "extract",
                "run": self.folder.run_id,
                "permafrost": installed_version("permafrost"),
                "environment": worker.environment,
            },
        )
        return commit(self.name, base.manifest if base else None, draft, self.listing.corpus_id)

    def _corpus_state(self, standing: Standing) -> CorpusState:
        rejects = None
        if standing.rejects.num_rows:
            rejects = write_table(standing.rejects, self.name.folder, "rejects")
        return CorpusState(
            source=str(self.listing.source),
            listed=len(self.listing.items) + len(self.listing.unnameable),
            rows=standing.items.num_rows,
            rejected=standing.rejects.num_rows,
            pending=standing.pending,
            skipped=self.listing.skipped,
            items=write_items(standing.items, self.name.folder),
            shards=tuple(sorted(pa.compute.unique(standing.items["shard"].cast(pa.string())).to_pylist())),
            rejects=rejects,
        )

    def _result(
        self,
        ledger: Ledger,
        version: int | None,
        committed: bool,
        workers: list[WorkerInfo],
        standing: Standing | None = None,
        work_seconds: float = 0.0,
    ) -> ExtractResult:
        standing = standing or ledger.settle()
        listed = len(self.listing.items) + len(self.listing.unnameable)
        embedded = ledger.counters["embedded"]
        new_shards = [ledger.index.shards[sha256] for sha256 in ledger.new_shards]
        rejected = standing.rejects.num_rows
        return ExtractResult(
            set=str(self.name),
            corpus=self.listing.corpus_id,
            listed=listed,
            read=ledger.counters["read"],
            embedded=embedded,
            reused=standing.items.num_rows - (embedded - ledger.unstorable),
            rows=standing.items.num_rows,
            rejected=rejected,
            pending=standing.pending,
            skipped=self.listing.skipped,
            reasons=dict(standing.reasons()),
            new=ledger.diff.new,
            changed=ledger.diff.changed,
            deleted=ledger.diff.deleted,
            seconds=round(time.perf_counter() - self.started, 3),
            images_per_second=round(embedded / work_seconds, 2) if work_seconds else 0.0,
            version=version,
            committed=committed,
            space_id=workers[0].space.id,
            shards=len(new_shards),
            bytes=sum(shard.bytes for shard in new_shards),
            run=self.folder.run_id,
            workers=len(workers),
            complete=standing.pending == 0 and rejected <= self.options.max_rejects * listed,
            to_read=len(ledger.diff.to_read),
            dry_run=self.options.dry_run,
            stage_seconds={stage: round(value, 3) for stage, value in ledger.seconds.items()},
        )


def _require_known_corpus(base: FeatureSet, listing: Listing) -> None:
    there = base.manifest.corpora
    if there and listing.corpus_id not in there:
        [(known, state), *_] = there.items()
        raise ConflictError(
            f"{base.name.folder} mirrors corpus {known!r} ({state.source}), not {listing.corpus_id!r} ({listing.source}). If that folder "
            f"has moved, pass --corpus-id {known}: what is unchanged is reused. For another corpus, choose another set name"
        )


def _require_space(description: SetDescription, name: SetName, worker: WorkerInfo) -> None:
    require_same_space(
        description.space,
        worker.space,
        f"the set {name.folder}",
        "this run",
        "Use the options that the set was made with (`permafrost store show`), or choose another set name",
    )


def _require_storable(ledger: Ledger, dtype: str) -> None:
    if ledger.unstorable > MAX_UNSTORABLE * len(ledger.listing.items):
        way_out = "extract with --dtype float32" if dtype == "float16" else "check the weights: the network itself gives no numbers"
        raise RunError(
            f"{ledger.unstorable} embeddings are not finite, or too small, in {dtype}; that is more than {MAX_UNSTORABLE:.1%} of the "
            f"items, so the run was stopped: {way_out}"
        )


def _committed_items(base: FeatureSet, corpus: str) -> dict[str, Known]:
    chosen = base.items.filter(pa.compute.equal(base.items["corpus"].cast(pa.string()), corpus))
    rejects = base.rejects.filter(pa.compute.equal(base.rejects["corpus"], corpus))
    known = {
        key: Known(stamp, digest)
        for key, stamp, digest in zip(*(chosen[name].to_pylist() for name in ("key", "stamp", "digest")), strict=True)
    }
    columns = (rejects[name].to_pylist() for name in ("key", "stamp", "digest", "reason", "message"))
    known |= {key: Known(stamp, digest, (reason, message)) for key, stamp, digest, reason, message in zip(*columns, strict=True)}
    return known


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
