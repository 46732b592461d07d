"""One extraction, start to end: list, compare, embed what is new, account for everything, commit."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from extractor.content import locate
from extractor.corpus import Items, Listing
from extractor.diff import union
from extractor.engine_choice import AUTO, INT8
from extractor.engine_settling import choose_engine, settle_quantized, weigh_precision
from extractor.executor import Executor
from extractor.executor_choice import make_executor
from extractor.forecast import Rate, exact_forecast, make_forecast, measured_rate, sample, shared
from extractor.hardware import hardware_of
from extractor.job import WorkerInfo
from extractor.likely_new import likely_new
from extractor.options import ExtractOptions
from extractor.own_golden import OwnGolden
from extractor.precision_plan import OF_FIRST_SET
from extractor.preview import preview
from extractor.refusals import require_room, require_writable
from extractor.relabelled import count_relabelled
from extractor.result import ExtractResult, Outcome, summarise
from extractor.rounds import Progress, Rounds
from extractor.set_run import SetRun, sets_of
from extractor.sources import list_corpus
from extractor.stopwatch import Stopwatch
from extractor.unit_queue import LostUnit
from extractor.weighed import AskHead, Weighed
from storage.asked import checked
from storage.digests import Words
from storage.errors import ConflictError
from storage.files import remove_private_files
from storage.place import Place

MAX_REBASES = 5  # onto commits of the same corpus by other runs


def _silent(_: Progress) -> None:
    return None


@checked(corpus="the corpus", uri="the set")
def extract(
    corpus: str | Path,
    uri: str | Path,
    options: ExtractOptions,
    on_progress: Callable[[Progress], None] = _silent,
    ask_head: AskHead | None = None,
) -> ExtractResult:
    """Mirror a corpus of images into the feature set `ROOT/TEAM/SET` as a new version, embedding only what no version holds.

    Further sets (`options.also`) are made from the same reading and decoding. ask_head: called once a precision was weighed and its version
    committed; the result goes into the report. Raises UsageError, NotFoundError, SpaceMismatchError (the set is in another space),
    DriftError, ConflictError, RunError.
    """
    clock = Stopwatch()
    sets = sets_of(uri, options)
    for each in sets if not options.dry_run else ():
        require_writable(each.name)
    listing = list_corpus(corpus, options.corpus_id)
    clock.lap("list")
    executor = make_executor(options)
    run = _Run(sets, listing, options, executor, clock, on_progress, ask_head)
    # How it ended is written last: on a full disk there is room for that once half shards are gone.
    with run.rounds.heartbeat, run.rounds.told_how_far():
        try:
            return run.go()
        finally:
            executor.close()
            for each in sets:
                remove_private_files(each.name.folder / "shards", each.folder.run_id)


class _Run:
    """The steps of one extraction, in the order of `go`."""

    def __init__(
        self,
        sets: list[SetRun],
        listing: Listing,
        options: ExtractOptions,
        executor: Executor,
        clock: Stopwatch,
        on_progress: Callable[[Progress], None],
        ask_head: AskHead | None,
    ) -> None:
        self.sets, self.listing, self.options, self.executor, self.clock = sets, listing, options, executor, clock
        self._on_progress, self._ask_head = on_progress, ask_head
        self.rounds = Rounds(sets, options, executor, clock, on_progress)
        self.golden = OwnGolden(executor.embed_images)
        self.weighed = Weighed({})

    def go(self) -> ExtractResult:
        for each in self.sets:
            each.open(self.listing)
        workers = self.executor.start()
        self.clock.lap("start")
        if any(each.is_behind() for each in self.sets):  # on a busy cluster one waits for hours, and others commit meanwhile
            self._list_anew()
            for each in self.sets:
                each.open(self.listing)
            self.clock.lap("list")
        if self.options.recipe.precision == INT8:
            workers = settle_quantized(self.executor, self.sets[0])
            self.clock.lap("calibrate")
        for each, worker in zip(self.sets, workers[0].all_sets, strict=True):
            each.check(worker)
        for each in self.sets:
            each.compare()
        for each in self.sets if len(self._files()) else ():
            each.find_lenders()
        self.clock.lap("compare")
        if self.options.engine == AUTO and self.options.recipe.precision != INT8 and len(self._files()):
            workers = choose_engine(self.executor, self.sets, self._likely_new // len(workers))
            self.clock.lap("engine")
        if self.options.dry_run:
            return self._foresee(workers)
        self._forecast(workers[0], self._known_rate(workers))
        if self.options.check_disk:
            self._require_room(workers[0])
        return self._embed_and_commit(workers)

    def _foresee(self, workers: list[WorkerInfo]) -> ExtractResult:
        """A dry run: by stamps, or exact where every byte is to count."""
        if self.options.rehash:
            self._preview(workers[0])
        rate = self._known_rate(workers)
        if not rate and any(self._to_embed(each) for each in self.sets):
            rate = self._calibrate(min(len(workers), hardware_of(workers).count))
        self._forecast(workers[0], rate)
        results, files = [], len(self._files())
        for number, each in enumerate(self.sets):
            standing = each.ledger.settle()
            outcome = Outcome(
                version=each.base.version if each.base else None,
                committed=False,
                files=files,
                relabelled=count_relabelled(each.base, standing),
                **self._told_of(number, workers),
            )
            results.append(summarise(each.ledger, standing, _of_set(workers, number), each.options, outcome))
        return replace(results[0], also=tuple(results[1:]))

    def _told_of(self, number: int, workers: list[WorkerInfo]) -> dict[str, Any]:
        """What an outcome says of one of the sets, of a dry run as of another."""
        each = self.sets[number]
        return {
            "set": str(each.name),
            "run": each.folder.run_id,
            "seconds": self.clock.total,
            "forecast": each.forecast,
            "usual_rate": self._usual_rate(number, workers),
            "is_first": number == 0,
            "is_alone": len(self.sets) == 1,
        }

    def _usual_rate(self, number: int, workers: list[WorkerInfo]) -> float | None:
        """Images a second of the set's own network, as runs that made this set alone tell; None where none did."""
        if len(self.sets) == 1:
            return self.sets[0].forecast.images_per_second
        rate = measured_rate(self.sets[number].name, _of_set(workers, number))
        return rate.images_per_second if rate else None

    def _files(self) -> Items:
        """What is to be read, once for all sets."""
        return union([each.ledger.diff.to_read for each in self.sets])

    @cached_property
    def _likely_new(self) -> int:
        """Of these files."""
        return likely_new(self._files(), self.listing.base, [each.holds for each in self.sets], self.options.limits)

    def _forecast(self, worker: WorkerInfo, rate: Rate | None) -> None:
        """Of each set, and of all of them."""
        exact, price = self.options.dry_run and self.options.rehash, self.options.price
        forecasts = [
            exact_forecast(each.ledger, of_set, rate, price) if exact else make_forecast(each.ledger.diff, of_set, rate, price)
            for each, of_set in zip(self.sets, worker.all_sets, strict=True)
        ]
        for each, forecast in zip(self.sets, shared(forecasts, self._files(), rate, price), strict=True):
            each.forecast = forecast

    def _preview(self, worker: WorkerInfo) -> None:
        """Read and hash what each set would read."""
        total, before = sum(len(each.ledger.diff.to_read) for each in self.sets), 0
        for number, (each, of_set) in enumerate(zip(self.sets, worker.all_sets, strict=True)):
            items = len(each.ledger.diff.to_read)
            each.keep_agreeing(partial(self.golden.of_set, number))
            preview(each.ledger, each.lenders, of_set.image_bytes, self.options.limits, partial(self._tell_previewed, before, total))
            before += items

    def _tell_previewed(self, before: int, total: int, done: int) -> None:
        self._on_progress(Progress(before + done, total))

    def _to_embed(self, each: SetRun) -> int:
        return each.ledger.counters["embedded"] if self.options.rehash else len(each.ledger.diff.to_read)

    def _known_rate(self, workers: list[WorkerInfo]) -> Rate | None:
        """Of runs in the same space; None where several sets are made at once, of which no run tells."""
        return measured_rate(self.sets[0].name, workers) if len(self.sets) == 1 else None

    def _calibrate(self, workers: int) -> Rate | None:
        """A rate by trying."""
        chosen = sample(self._files(), workers)
        if not chosen:
            return None
        rate = self.executor.measure([locate(self.listing.base, item) for item in chosen])
        return Rate(rate, f"a try with {len(chosen)} of the images") if rate else None

    def _require_room(self, worker: WorkerInfo) -> None:
        needs: dict[Place, list[tuple[int, WorkerInfo]]] = defaultdict(list)
        for each, of_set in zip(self.sets, worker.all_sets, strict=True):
            needs[each.name.root].append((len(each.ledger.diff.to_read), of_set))
        for root, of_root in needs.items():
            require_room(of_root, root)

    def _embed_and_commit(self, workers: list[WorkerInfo]) -> ExtractResult:
        self._create_sets(workers[0].engine.batch_size or 1)
        self.clock.lap("prepare")
        if self.options.recipe.precision != "float32" and len(self._files()):
            self.weighed = weigh_precision(self.executor, self.sets[0], self._files(), self._likely_new // len(workers))
            self.clock.lap("weigh")
        self.rounds.heartbeat.start()
        first, *also = (each.job for each in self.sets)
        job = replace(first, also=tuple(also))
        self.executor.begin(job, self._known_digests())
        started = time.perf_counter()
        self.clock.lap("prepare")
        for _ in range(MAX_REBASES):
            lost = self.rounds.work(job)
            if self._commit_all(lost):
                break
        else:
            corpus = self.listing.corpus_id
            raise ConflictError(f"{self.sets[0].name}: other runs of corpus {corpus!r} commit faster than this one; run it again")
        work_seconds = time.perf_counter() - started
        self.clock.lap("commit")
        if self._ask_head and self.weighed.digests:
            uri = f"{self.sets[0].name}@{self.sets[0].manifest.version}"
            self.weighed = replace(self.weighed, cost={**self.weighed.cost, "head": self._ask_head(uri, self.weighed)})
            self.clock.lap("ask")
        self.sets[0].ledger.seconds.update(self.clock.seconds)
        results = [self._result(number, workers, lost, work_seconds) for number in range(len(self.sets))]
        for number, (each, result) in enumerate(zip(self.sets, results, strict=True)):
            each.report(result, _of_set(workers, number), self.rounds.throughput, tuple(str(each.name) for each in self.sets))
        return replace(results[0], also=tuple(results[1:]))

    def _create_sets(self, batch_size: int) -> None:
        standing = [each.golden() for each in self.sets]
        drawn = self.golden.draw(self.sets, batch_size) if None in standing else []
        for number, each in enumerate(self.sets):
            each.create(standing[number] or drawn[number])

    def _known_digests(self) -> list[Iterator[Words]]:
        """None where nothing is to be read: then nobody asks, and the indexes need not be read."""
        if not any(len(each.ledger.diff.to_read) for each in self.sets):
            return [iter(()) for _ in self.sets]
        for number, each in enumerate(self.sets):
            each.keep_agreeing(partial(self.golden.of_set, number))
        return [each.known_digests() for each in self.sets]

    def _commit_all(self, lost: list[LostUnit]) -> bool:
        """False if another run of the same corpus was faster with one of the sets: then all have another look.

        The corpus is listed anew, because that run may have seen a later state.
        """
        try:
            for each in self.sets:
                each.commit(lost)
        except ConflictError:
            self._list_anew()
            for each in self.sets:
                each.look_again(self.listing)
            return False
        return True

    def _list_anew(self) -> None:
        self.listing = list_corpus(self.listing.source, self.listing.corpus_id)

    def _result(self, number: int, workers: list[WorkerInfo], lost: list[LostUnit], work_seconds: float) -> ExtractResult:
        each = self.sets[number]
        outcome = Outcome(
            version=each.manifest.version,
            committed=each.committed,
            files=self.rounds.throughput.total,
            relabelled=count_relabelled(each.base, each.standing) if each.committed else 0,
            work_seconds=work_seconds,
            turnover=self.executor.turnover,
            lost=lost,
            report=str(each.folder.page),
            precision=self.weighed.cost if number == 0 or not self.weighed.cost else {"left_out": OF_FIRST_SET},
            **self._told_of(number, workers),
        )
        return summarise(each.ledger, each.standing, _of_set(workers, number), each.options, outcome)


def _of_set(workers: list[WorkerInfo], number: int) -> list[WorkerInfo]:
    return [replace(worker.all_sets[number], where=worker.where) for worker in workers]
