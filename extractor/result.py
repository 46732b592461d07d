"""What an extraction says of itself: the counts that `--json` and the report give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from extractor.crew import Turnover
from extractor.forecast import Forecast, is_a_measure
from extractor.job import WorkerInfo
from extractor.ledger import Ledger
from extractor.options import ExtractOptions
from extractor.reasons import UNCOUNTED_REASONS
from extractor.standing import Standing
from extractor.taken_down import counted
from extractor.unit_queue import LostUnit


@dataclass(frozen=True)
class ExtractResult:
    """What the run did. listed = rows + rejected + pending for this corpus."""

    set: str
    corpus: str
    listed: int
    read: int  # files whose bytes were read; for all sets of the run, and 0 with the further ones
    decoded: int  # images that a decoder was given; receipts of older versions do not count them
    embedded: int  # images that went through the network, each in all its views
    twice: int  # of those: another run did so at the same time, or a worker that was taken for dead. Kept once
    reused: int  # rows that needed no forward pass of this run
    copied: int  # embeddings taken from other sets of the store: copied, or derived from maps or float32
    rows: int
    rejected: int
    pending: int
    skipped: dict[str, int]
    reasons: dict[str, int]  # rejects by reason
    new: int
    changed: int  # read again although the key is known: with another stamp, or because `rehash` or `retry_rejects` asked for it
    deleted: int
    kinds: dict[str, int]  # of the files that this set had to have read, what they turned out to be: KINDS of extractor.novelty
    seconds: float
    images_per_second: float  # embedded, over the time from first unit to last
    version: int | None  # None: a dry run of a set without versions
    committed: bool  # False: nothing had changed, `version` is the one that was there
    space_id: str
    shards: int  # new ones
    bytes: int  # of the new shards
    run: str
    workers: int
    replaced_workers: int  # died, and had others in their place
    joined_workers: int  # with nodes that joined in the middle of the run
    left_workers: int  # with nodes that left
    complete: bool  # nothing pending, rejects within --max-rejects, and no container lost an unknown number of images
    failures: list[str] = field(default_factory=list)  # why units were given up, and their items are pending
    helped: int = 0  # of `decoded`, images that decode helpers made
    to_read: int = 0  # files that this set has to have read; some may turn out to be unreadable
    files: int = 0  # to read, each once for all sets of the run; as `read`, 0 with the further sets
    relabelled: int = 0  # items with the image that they had, and another label or split
    dry_run: bool = False
    stage_seconds: dict[str, float] = field(default_factory=dict)  # by stage of extractor.stages, which says whose they are
    forecast: dict[str, Any] = field(default_factory=dict)  # extractor.forecast, from before the work
    engine: dict[str, Any] = field(default_factory=dict)  # name, batch_size and why it was chosen ("" where it was named)
    precision: dict[str, Any] = field(default_factory=dict)  # extractor.precision_cost; of the run's first set, {} where nobody looked
    cost: float | None = None  # `seconds` at the price of an hour; None: no price is known, or it stands with the run's first set
    saved_seconds: float | None = None  # what the forward passes of the reused rows would have taken
    report: str | None = None  # path of report.html; None: a dry run
    views: int = 1  # of each image: forward passes are embedded * views
    also: tuple[ExtractResult, ...] = ()  # of the further sets of the run

    @property
    def all_sets(self) -> tuple[ExtractResult, ...]:
        return (self, *self.also)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """How the work went, beside the ledger. version None: a dry run of a set without versions."""

    set: str
    run: str
    version: int | None
    committed: bool
    seconds: float
    forecast: Forecast
    usual_rate: float | None  # images a second, of earlier runs of this set alone
    files: int  # as in ExtractResult
    relabelled: int
    is_first: bool  # set of the run
    is_alone: bool
    work_seconds: float = 0.0
    turnover: Turnover = field(default_factory=Turnover)
    lost: Sequence[LostUnit] = ()
    report: str | None = None
    precision: dict[str, Any] = field(default_factory=dict)


def summarise(
    ledger: Ledger, standing: Standing, workers: Sequence[WorkerInfo], options: ExtractOptions, outcome: Outcome
) -> ExtractResult:
    """Put the account of a run into its result."""
    listing, counters = ledger.listing, ledger.counters
    in_use = ledger.in_use()
    new_shards, twice = [ledger.index.shards[name] for name in in_use], ledger.twice(in_use)
    rows, rejected = standing.rows, standing.rejected
    listed = listing.listed - standing.taken_down
    rate = counters["embedded"] / outcome.work_seconds if outcome.work_seconds else 0.0
    reused = rows - ledger.kept(in_use)
    # The rate of several sets together is none's own. What this run computed itself, though in vain, was not saved.
    usual = outcome.usual_rate or (rate if outcome.is_alone and is_a_measure(counters) else None)
    return ExtractResult(
        set=outcome.set,
        corpus=listing.corpus_id,
        listed=listed,
        read=counters["read"],
        decoded=counters["decoded"],
        embedded=counters["embedded"],
        twice=twice,
        copied=counters["copied"],
        reused=reused,
        rows=rows,
        rejected=rejected,
        pending=standing.pending,
        skipped=counted(listing.skipped, standing.taken_down),
        reasons=dict(standing.reasons),
        new=ledger.diff.new,
        changed=ledger.diff.changed,
        deleted=ledger.diff.deleted,
        kinds=ledger.kinds(),
        seconds=round(outcome.seconds, 3),
        images_per_second=round(rate, 2),
        version=outcome.version,
        committed=outcome.committed,
        space_id=workers[0].space.id,
        shards=len(new_shards),
        bytes=sum(shard.bytes for shard in new_shards),
        run=outcome.run,
        workers=len(workers),
        replaced_workers=outcome.turnover.replaced,
        joined_workers=outcome.turnover.joined,
        left_workers=outcome.turnover.left,
        complete=standing.pending == 0 and rejected <= options.max_rejects * listed and UNCOUNTED_REASONS.isdisjoint(standing.reasons),
        failures=[f"unit {lost.unit.id} ({len(lost.unit.items)} items): {lost.message}" for lost in outcome.lost],
        helped=counters["helped"],
        to_read=ledger.to_read,
        files=outcome.files if outcome.is_first else 0,
        relabelled=outcome.relabelled,
        dry_run=options.dry_run,
        stage_seconds={stage: round(value, 3) for stage, value in ledger.seconds.items()},
        forecast=outcome.forecast.to_dict(),
        engine=_engine(workers[0]),
        precision=outcome.precision,
        cost=_cost(outcome, options),
        saved_seconds=round((reused - twice) / usual, 1) if usual else None,
        report=outcome.report,
        views=len(workers[0].space.views),
    )


def _engine(worker: WorkerInfo) -> dict[str, Any]:
    return {"name": worker.engine.name, "batch_size": worker.engine.batch_size, "why": worker.engine.why}


def _cost(outcome: Outcome, options: ExtractOptions) -> float | None:
    if options.price is None or options.dry_run or not outcome.is_first:
        return None
    return round(outcome.seconds / 3600 * options.price, 2)
