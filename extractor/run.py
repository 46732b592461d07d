"""One extraction, start to end: list, compare, embed what is new, account for everything, commit."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from extractor.content import locate
from extractor.corpus import Items, Listing
from extractor.diff import diff
from extractor.executor import Executor
from extractor.forecast import Forecast, Rate, exact_forecast, make_forecast, measured_rate, sample
from extractor.golden_images import draw_golden_images
from extractor.job import Job, WorkerInfo
from extractor.known import what_is_known
from extractor.ledger import Ledger
from extractor.options import ExtractOptions
from extractor.preview import preview
from extractor.refusals import require_different, require_own_corpus, require_room, require_space
from extractor.report import Circumstances, make_report
from extractor.report_page import render
from extractor.result import ExtractResult, Outcome, summarise
from extractor.rounds import Progress, Rounds
from extractor.sources import list_corpus
from extractor.standing import Standing
from extractor.stopwatch import Stopwatch
from extractor.unit_queue import LostUnit
from storage.commit import create_set, open_newest
from storage.digests import Words
from storage.draft import Settled, commit_state, write_state
from storage.errors import ConflictError, RunError, UsageError
from storage.feature_set import FeatureSet, SetDescription
from storage.files import FileEntry, remove_private_files
from storage.golden import GoldenImages, write_golden
from storage.lending import Lender, find_lenders
from storage.manifest import Manifest
from storage.names import SetName, parse_set
from storage.runs import RunFolder, new_run_id
from storage.shard import DEFAULT_FORMAT
from storage.shard_layout import ShardLayout
from storage.space import Space
from storage.store import require_possible_root

logger = logging.getLogger(__name__)

MAX_REBASES = 5  # onto commits of the same corpus by other runs


def _silent(_: Progress) -> None:
    return None


def extract(
    corpus: str | Path, uri: str | Path, options: ExtractOptions, on_progress: Callable[[Progress], None] = _silent
) -> ExtractResult:
    """Mirror a corpus of images into the feature set `ROOT/TEAM/SET` as a new version, embedding only what no version holds.

    Raises UsageError, NotFoundError, SpaceMismatchError (the set is in another space), DriftError, ConflictError, RunError.
    """
    clock = Stopwatch()
    name = parse_set(uri)
    if name.at:
        raise UsageError(f"{uri}: extraction makes a new version; leave out '@{name.at}'")
    require_possible_root(name.root)
    listing = list_corpus(corpus, options.corpus_id)
    clock.lap("list")
    executor = _make_executor(options)
    run = _Run(name, listing, options, executor, clock, on_progress)
    try:
        return run.go()
    finally:
        executor.close()
        remove_private_files(name.folder / "shards", run.folder.run_id)


def _make_executor(options: ExtractOptions) -> Executor:
    # Imported here: the local one brings TensorFlow into this process, the other one Ray, and a run needs one of them.
    if options.local:
        from extractor.local_executor import LocalExecutor

        return LocalExecutor(options.recipe, options.workers, options.unit_deadline)
    from extractor.ray_executor import RayExecutor

    return RayExecutor(options.recipe, options.workers, options.ray_address, options.unit_deadline)


class _Run:
    """The steps of one extraction, in the order of `go`."""

    def __init__(
        self,
        name: SetName,
        listing: Listing,
        options: ExtractOptions,
        executor: Executor,
        clock: Stopwatch,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.name, self.listing, self.options, self.executor, self.clock = name, listing, options, executor, clock
        self.folder = RunFolder(name.folder, new_run_id())
        self.forecast: Forecast | None = None
        self._on_progress = on_progress
        self.rounds = Rounds(name, self.folder, options, executor, clock, on_progress)

    def go(self) -> ExtractResult:
        base = open_newest(self.name)
        if base:
            self._accept(base.manifest)
        workers = self.executor.start()
        self.clock.lap("start")
        if base:
            require_space(base.description, self.name, workers[0])
            base.description.require_format(self.options.format, self.name)
        ledger = self._open_ledger(base)
        rate = measured_rate(self.name, workers)
        if self.options.dry_run:
            self.forecast = self._foresee(ledger, workers, rate)
            version = base.version if base else None
            outcome = Outcome(str(self.name), self.folder.run_id, version, False, self.clock.total, forecast=self.forecast)
            return summarise(ledger, ledger.settle(), workers, self.options, outcome)
        self.forecast = make_forecast(ledger.diff, workers[0], rate, self.options.price) if rate else None
        if self.options.check_disk:
            require_room(len(ledger.diff.to_read), workers[0], self.name)
        with self.rounds.heartbeat, self.rounds.full_disk_told():
            return self._embed_and_commit(base, ledger, workers)

    def _foresee(self, ledger: Ledger, workers: list[WorkerInfo], rate: Rate | None) -> Forecast:
        """A dry run: by stamps, or exact where every byte is to count."""
        first, items, price = workers[0], ledger.diff.to_read, self.options.price
        if not self.options.rehash:
            return make_forecast(ledger.diff, first, rate or self._calibrate(items, len(workers)), price)
        lenders = self._lenders(first.space) if len(items) else []
        preview(ledger, lenders, first.image_bytes, self.options.limits, lambda done: self._on_progress(Progress(done, len(items))))
        if ledger.counters["embedded"] and not rate:
            rate = self._calibrate(items, len(workers))
        return exact_forecast(ledger, first, rate, price)

    def _calibrate(self, items: Items, workers: int) -> Rate | None:
        """A rate by trying, where no run has measured one."""
        chosen = sample(items, workers)
        if not chosen:
            return None
        rate = self.executor.measure([locate(self.listing.base, item) for item in chosen])
        return Rate(rate, f"a try with {len(chosen)} of the images")

    def _open_ledger(self, base: FeatureSet | None, earlier: Ledger | None = None) -> Ledger:
        known = what_is_known(self.name, base, self.listing.corpus_id, earlier.index if earlier else None)
        index = known.index
        if index.unusable:
            logger.warning("%d shards of %s are missing or cut off: what they held is made again", len(index.unusable), self.name)
        changes = diff(self.listing.items, known.committed, known.recovered, index, self.options.rehash, self.options.retry_rejects)
        ledger = Ledger(self.listing, changes, index)
        if earlier:
            ledger.carry_over(earlier)
        self.clock.lap("compare")
        return ledger

    def _embed_and_commit(self, base: FeatureSet | None, ledger: Ledger, workers: list[WorkerInfo]) -> ExtractResult:
        golden = base.golden() if base else self._new_golden()
        description = create_set(self.name, self._describe(workers[0]))
        self.rounds.heartbeat.start()
        require_space(description, self.name, workers[0])
        golden_entry = base.manifest.golden if base else write_golden(golden, self.name.folder)
        job = self._job(description, golden)
        lenders = self._lenders(description.space) if len(ledger.diff.to_read) else []
        self.executor.begin(job, self._known_digests(ledger, lenders))
        started = time.perf_counter()
        self.clock.lap("prepare")
        for _ in range(MAX_REBASES):
            lost = self.rounds.work(ledger, lenders, job, self._about(base))
            standing = _settle(ledger, lost)
            try:
                manifest = self._commit(base, standing, ledger, golden_entry, workers[0])
                break
            except ConflictError:
                base = self._newer_base()
                ledger = self._open_ledger(base, ledger)
        else:
            raise ConflictError(f"{self.name}: other runs of corpus {self.listing.corpus_id!r} commit faster than this one; run it again")
        work_seconds = time.perf_counter() - started
        committed = base is None or manifest is not base.manifest
        self.clock.lap("commit")
        ledger.seconds.update(self.clock.seconds)
        page = str(self.folder.page)
        outcome = Outcome(
            str(self.name),
            self.folder.run_id,
            manifest.version,
            committed,
            self.clock.total,
            work_seconds,
            self.executor.turnover,
            self.forecast,
            lost,
            page,
        )
        result = summarise(ledger, standing, workers, self.options, outcome)
        self._write_report(result, workers, standing, base, manifest)
        return result

    def _write_report(
        self, result: ExtractResult, workers: list[WorkerInfo], standing: Standing, base: FeatureSet | None, manifest: Manifest
    ) -> None:
        around = Circumstances(
            source=str(self.listing.source),
            host=platform.node(),
            finished=datetime.now(UTC),
            before=base.version if base else None,
            manifest=manifest,
            rejects=standing.rejects(),
            throughput=self.rounds.throughput.to_dict(),
        )
        report = make_report(result, self.options, workers, around)
        self.folder.write_page(render(report))
        self.folder.write_report(report)

    def _newer_base(self) -> FeatureSet:
        """What another run of the same corpus committed meanwhile. The folder is listed anew: that run may have seen a later state."""
        base = open_newest(self.name)
        if base is None:
            raise ConflictError(f"{self.name}: another run is at work on it; run it again")
        self._accept(base.manifest)
        self.listing = list_corpus(self.listing.source, self.listing.corpus_id)
        return base

    def _lenders(self, space: Space) -> list[Lender]:
        return find_lenders(self.name, space, [Path(root) for root in self.options.reuse_from])

    @staticmethod
    def _known_digests(ledger: Ledger, lenders: Sequence[Lender]) -> Iterator[Words]:
        """None where nothing is to be read: then nobody asks, and the index need not be read."""
        indexes = [ledger.index, *(lender.index for lender in lenders)] if len(ledger.diff.to_read) else []
        return chain.from_iterable(index.digests() for index in indexes)

    def _describe(self, worker: WorkerInfo) -> SetDescription:
        recipe = self.options.recipe
        return SetDescription(worker.space, self.options.format or DEFAULT_FORMAT, worker.shape, recipe.dtype, recipe.to_dict(), _now())

    def _new_golden(self) -> GoldenImages:
        images = draw_golden_images()
        embeddings = self.executor.embed_images(tuple(images.values()))
        require_different(embeddings)
        return GoldenImages(tuple(images), tuple(images.values()), embeddings)

    def _job(self, description: SetDescription, golden: GoldenImages) -> Job:
        layout = ShardLayout(description.shape, description.dtype, description.space.id)
        views = len(description.space.views)
        listing, limits = self.listing, self.options.limits
        return Job(self.folder, listing.corpus_id, listing.base, description.shard_format, layout, golden, limits, views)

    def _about(self, base: FeatureSet | None) -> dict[str, Any]:
        """What the plan says of the run."""
        return {
            "corpus": self.listing.corpus_id,
            "source": str(self.listing.source),
            "base_version": base.version if base else None,
        }

    def _commit(self, base: FeatureSet | None, standing: Standing, ledger: Ledger, golden: FileEntry, worker: WorkerInfo) -> Manifest:
        """The new manifest, or the base's own object where nothing has changed."""
        listing = self.listing
        settled = Settled(
            listing.corpus_id, str(listing.source), listing.listed, standing.items(), standing.rejects(), standing.pending, listing.skipped
        )
        provenance = {"operation": "extract", "run": self.folder.run_id, "environment": worker.environment}
        return commit_state(
            self.name,
            base.manifest if base else None,
            listing.corpus_id,
            write_state(settled, self.name),
            ledger.index.shards.values(),
            golden,
            worker.space.id,
            provenance,
            self._accept,
        )

    def _accept(self, manifest: Manifest) -> None:
        if not self.options.add:
            require_own_corpus(manifest, self.name, self.listing)


def _settle(ledger: Ledger, lost: list[LostUnit]) -> Standing:
    standing = ledger.settle()
    if lost and not standing.rows:
        raise RunError(f"no unit could be finished, so there is nothing to commit. The first one failed with: {lost[0].message}")
    return standing


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
