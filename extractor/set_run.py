"""One feature set in a run: what it has, what it needs, what it got, and the version that it becomes."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from extractor.corpus import Listing
from extractor.diff import diff
from extractor.forecast import Forecast
from extractor.job import Job, WorkerInfo
from extractor.known import what_is_known
from extractor.ledger import Ledger
from extractor.options import ExtractOptions
from extractor.quantized_network import quantization_of
from extractor.receipt import Receipt
from extractor.refusals import require_none_meanwhile, require_own_corpus, require_same_network, require_space
from extractor.report import Circumstances, make_report
from extractor.report_page import render
from extractor.result import ExtractResult
from extractor.taken_down import counted, without_taken
from extractor.throughput import Throughput
from extractor.unit_queue import LostUnit
from storage.begun import begun_description, begun_golden
from storage.commit import create_set, open_newest
from storage.digests import Words, words_of
from storage.draft import Settled, commit_state, write_state
from storage.errors import RunError, UsageError
from storage.feature_set import FeatureSet, SetDescription
from storage.golden import GoldenImages, write_golden
from storage.index import committed_index
from storage.lending import Embed, Lender, agreeing, copy_embeddings, find_lenders
from storage.manifest import Manifest
from storage.names import SetName, parse_root, parse_set
from storage.place import same_place
from storage.runs import RunFolder, new_run_id
from storage.shard import DEFAULT_FORMAT, shard_format
from storage.shard_layout import ShardLayout
from storage.store import ensure_store, require_possible_set
from storage.takedown import finish_takedowns
from storage.takedown_runs import forget_names
from storage.tombstones import read_tombstones
from storage.versions import list_versions, read_manifest

logger = logging.getLogger(__name__)


class SetRun:
    """Its methods are called in the order in which they stand here."""

    ledger: Ledger
    job: Job
    forecast: Forecast

    def __init__(self, name: SetName, run_id: str, options: ExtractOptions) -> None:
        """options: those of this set."""
        self.name, self.options = name, options
        self.folder = RunFolder(name.folder, run_id)
        self.base: FeatureSet | None = None
        self.lenders: list[Lender] = []
        self.committed = False
        self.quantized: bytes | None = None  # the calibrated network of an int8 space
        self._began_at: int | None = None  # version that was there; 0 for none

    def open(self, listing: Listing) -> None:
        """Raises ConflictError for a corpus that has no place in the set."""
        if not self.options.dry_run:
            finish_takedowns(self.name)
        self._stones = read_tombstones(self.name)
        self.listing = without_taken(listing, self._stones)
        self.base = open_newest(self.name)
        if self._began_at is None:
            self._began_at = self.base.version if self.base else 0
        if self.base:
            self._accept(self.base.manifest)

    def is_behind(self) -> bool:
        """Whether other runs have committed since it was opened."""
        return list_versions(self.name.folder)[-1:] != ([self.base.version] if self.base else [])

    def check(self, worker: WorkerInfo) -> None:
        """Raises SpaceMismatchError, UsageError (another shard format), DamagedError (its calibrated network is gone), ConflictError."""
        self._worker = worker
        if begun := begun_description(self.name):
            if not self.golden():
                require_same_network(begun, self.name, worker)
            self._require_space(begun)
            begun.require_format(self.options.format, self.name)

    def golden(self) -> GoldenImages | None:
        """Those of the set, or of a run that died before its first version: its finished units count, so its network and engine do, too."""
        if self.base:
            return self.base.golden()
        begun = begun_description(self.name)
        wanted = begun.space.quantization if begun else None
        return next((each for each in begun_golden(self.name) if _quantization(each) == wanted), None)

    def compare(self, earlier: Ledger | None = None) -> None:
        """Find out what has to be read. earlier: of this run, for another listing; what was done counts."""
        index = committed_index(self.name)
        if earlier:
            index.look_at(earlier.index.shards.values(), self.name.folder)  # a takedown may have rewritten some
            index.merge(earlier.index)
        known = what_is_known(self.name, self.base, self.listing.corpus_id, index)
        if index.unusable:
            logger.warning("%d shards of %s are missing or cut off: what they held is made again", len(index.unusable), self.name)
        changes = diff(
            self.listing.items, known.committed, known.recovered, known.bad, index, self.options.rehash, self.options.retry_rejects
        )
        self.ledger = Ledger(self.listing, changes, index, stones=self._stones)
        if earlier:
            self.ledger.carry_over(earlier, self._made_by_others(), map(Receipt.from_table, self.folder.receipts()))

    def _made_by_others(self) -> set[str]:
        """Shards that other runs filled and committed while this one worked. That they list a shard of this run may mean reuse."""
        runs = {read_manifest(self.name.folder, version).provenance.get("run") for version in self._versions_since()}
        receipts = (table for run in runs - {None, self.folder.run_id} for table in RunFolder(self.name.folder, str(run)).receipts())
        shards = (Receipt.from_table(table).shard for table in receipts)
        return {shard.sha256 for shard in shards if shard}

    def _versions_since(self) -> list[int]:
        """Those that were not there when this run began."""
        return [version for version in list_versions(self.name.folder) if version > (self._began_at or 0)]

    def find_lenders(self) -> None:
        """What other sets may lend, before anything is embedded here."""
        self.lenders = find_lenders(self.name, self._worker.space, [parse_root(root) for root in self.options.reuse_from])

    def holds(self, digests: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """Of each image whether it needs no forward pass here, by its content."""
        words = words_of(digests)
        found = [index.find(words)[0] >= 0 for index in (self.ledger.index, *(lender.index for lender in self.lenders))]
        return np.asarray(np.any(found, axis=0))

    def create(self, golden: GoldenImages) -> None:
        """Make the set if it is new. golden: its own images, or those to give it. Raises SpaceMismatchError, ConflictError."""
        ensure_store(self.name.root)
        # Before the set is there: who goes on with it finds the calibrated network that its space names.
        self._golden_entry = (
            self.base.manifest.golden if self.base else write_golden(replace(golden, quantized=self.quantized), self.name.folder)
        )
        self._description = create_set(self.name, self._describe())
        self._require_space(self._description)
        self.job = self._make_job(golden)

    def keep_agreeing(self, embed: Embed) -> None:
        """Of the lenders. embed: what this run's workers make of encoded images for this set."""
        self.lenders = agreeing(self.lenders, self.name, self._worker.space.precision, embed)

    def known_digests(self) -> Iterator[Words]:
        """Of all images that need no forward pass here."""
        return chain(self.ledger.known_digests(), *(lender.index.digests() for lender in self.lenders))

    def about(self) -> dict[str, Any]:
        """What the plan says of the run."""
        version = self.base.version if self.base else None
        return {"corpus": self.listing.corpus_id, "source": str(self.listing.source), "base_version": version}

    def copy_lent(self) -> None:
        """Take what other sets have from them."""
        kind = shard_format(self.job.format)
        for copied in copy_embeddings(self.ledger.homeless(), self.lenders, self.name, kind, self.job.layout):
            self.ledger.add_copied(copied)

    def commit(self, lost: Sequence[LostUnit]) -> None:
        """Make the version, or find that nothing has changed. Raises ConflictError if another run was faster, RunError."""
        self.standing = self.ledger.settle()
        if lost and not self.standing.rows:
            raise RunError(f"no unit could be finished, so there is nothing to commit. The first one failed with: {lost[0].message}")
        listing, standing = self.listing, self.standing
        settled = Settled(
            listing.corpus_id,
            str(listing.source),
            listing.listed - standing.taken_down,
            standing.items(),
            standing.rejects(),
            standing.pending,
            counted(listing.skipped, standing.taken_down),
        )
        base = self.base.manifest if self.base else None
        self.manifest = commit_state(
            self.name,
            base,
            listing.corpus_id,
            write_state(settled, self.name, base),
            self.ledger.index.shards.values(),
            self._golden_entry,
            self._worker.space.id,
            {"operation": "extract", "run": self.folder.run_id, "environment": self._worker.environment},
            self._accept,
        )
        if self.base is None or self.manifest is not self.base.manifest:
            self.committed = True

    def look_again(self, listing: Listing) -> None:
        """After a commit of another run, or a takedown, for a newer listing. Raises ConflictError."""
        self.open(listing)
        self.compare(self.ledger)

    def report(self, result: ExtractResult, workers: list[WorkerInfo], throughput: Throughput, sets: tuple[str, ...]) -> None:
        """sets: all of the run."""
        around = Circumstances(
            source=str(self.listing.source),
            host=platform.node(),
            finished=datetime.now(UTC),
            before=self.base.version if self.base else None,
            manifest=self.manifest,
            rejects=self.standing.rejects(),
            throughput=throughput.to_dict(),
            sets=sets,
        )
        forget_names(self.folder, frozenset(self.ledger.taken))
        report = make_report(result, self.options, workers, around)
        self.folder.write_page(render(report))
        self.folder.write_report(report)

    def _describe(self) -> SetDescription:
        recipe, worker = self.options.recipe, self._worker
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return SetDescription(worker.space, self.options.format or DEFAULT_FORMAT, worker.shape, recipe.dtype, recipe.to_dict(), created)

    def _make_job(self, golden: GoldenImages) -> Job:
        description, listing = self._description, self.listing
        layout = ShardLayout(description.shape, description.dtype, description.space.id)
        views = len(description.space.views)
        return Job(
            self.folder,
            listing.corpus_id,
            listing.base,
            description.shard_format,
            layout,
            replace(golden, quantized=None),  # workers have it
            self.options.limits,
            views,
            stones=self._stones,
        )

    def _require_space(self, description: SetDescription) -> None:
        if description.space != self._worker.space:
            require_none_meanwhile(description, self.name, self._worker, self.golden())
            require_space(description, self.name, self._worker)

    def _accept(self, manifest: Manifest) -> None:
        if not self.options.add:
            require_own_corpus(manifest, self.name, self.listing)


def _quantization(golden: GoldenImages) -> str | None:
    return quantization_of(golden.quantized) if golden.quantized else None


def sets_of(uri: str | Path, options: ExtractOptions) -> list[SetRun]:
    """All sets of the run, each with its own options. Raises UsageError."""
    run_id = new_run_id()
    further = [(each.set, replace(options, recipe=each.recipe, format=each.format, also=())) for each in options.also]
    sets = []
    for text, own in [(uri, options), *further]:
        name = parse_set(text)
        if name.at:
            raise UsageError(f"{text}: extraction makes a new version; leave out '@{name.at}'")
        require_possible_set(name)
        sets.append(SetRun(name, run_id, own))
    for one, other in combinations(sets, 2):
        if same_place(one.name.folder, other.name.folder):
            raise UsageError(f"{one.name} is named twice: each set of a run needs a name of its own")
    return sets
