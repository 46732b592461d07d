"""The work of one run: units go to the workers, round after round, until what each item waits for has arrived or is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from extractor.corpus import Items
from extractor.diff import union
from extractor.executor import Executor
from extractor.grace import Grace
from extractor.heartbeat import Heartbeat
from extractor.job import Job
from extractor.options import ExtractOptions
from extractor.plan import Units, make_units
from extractor.receipt import Receipt
from extractor.refusals import require_storable
from extractor.set_run import SetRun
from extractor.stopwatch import Stopwatch
from extractor.throughput import Throughput
from extractor.unit_queue import LostUnit
from storage.errors import DiskFullError
from storage.takedown_runs import masked_json

MAX_ROUNDS = 5  # of units for duplicates whose first copy sat in a lost unit


@dataclass(frozen=True)
class Progress:
    """`done` of `total` items to read; 0 when the workers are ready, then after each unit."""

    done: int
    total: int


class Rounds:
    """Hands units out, enters what comes back into the ledgers of the sets, and listens to those who want the run to stop."""

    def __init__(
        self,
        sets: Sequence[SetRun],
        options: ExtractOptions,
        executor: Executor,
        clock: Stopwatch,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._sets, self._executor, self._clock = sets, executor, clock
        self._on_progress = on_progress
        self._units_made = 0
        self.throughput = Throughput()
        self.heartbeat = Heartbeat([each.folder for each in sets], self.throughput.now)
        self._grace = Grace(options.grace, executor.drain)

    @contextmanager
    def told_how_far(self) -> Iterator[None]:
        """Say of a full disk, which the error names, how far the work has come."""
        try:
            yield
        except DiskFullError as error:
            now = self.throughput.now()
            finished = (
                f"{now['done']} of {now['total']} images to read were finished and are kept" if now["total"] else "No image was read yet"
            )
            raise DiskFullError(
                f"{error}. {finished}: make room (or raise the limit on file sizes), and run the same command again to go on"
            ) from None

    def work(self, job: Job) -> list[LostUnit]:
        """Read and embed what the sets have to read; returns the units that were given up."""
        to_read = union([each.ledger.diff.to_read for each in self._sets])
        units = self._units(to_read, job)
        self._write_plans(units)
        total = len(to_read)
        done, lost = 0, []
        self.throughput.begin(total)
        for _ in range(MAX_ROUNDS):
            with self._grace:
                self._tell(done, total)
                for result in self._results(units):
                    if isinstance(result, LostUnit):
                        lost.append(result)
                        done += len(result.unit.items)
                    else:
                        done += result.items.num_rows
                    self._tell(done, total)
                if self._grace.leaving:
                    raise KeyboardInterrupt
            self._clock.lap("work")
            for each in self._sets:
                each.copy_lent()
            self._clock.lap("lend")
            units = self._units(union([each.ledger.unresolved() for each in self._sets]), job)
            if not len(units):
                break
            # What a lender turned out not to have is claimed as known still: begin again, with what is really here.
            self._executor.begin(job, [each.ledger.known_digests() for each in self._sets])
        return lost

    def _tell(self, done: int, total: int) -> None:
        self._on_progress(Progress(min(done, total), total))
        self._executor.tell_pending(max(0, total - done))

    def _units(self, items: Items, job: Job) -> Units:
        """Units with ids that this run has not used yet: each has a receipt by that name."""
        units = make_units(items, max(each.image_bytes for each in job.all_sets), self._units_made)
        self._units_made += len(units)
        return units

    def _write_plans(self, units: Units) -> None:
        shared = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "sets": [str(each.name) for each in self._sets],
            "units": units.describe(),
        }
        for each in self._sets:
            plan = {"run": each.folder.run_id, **each.about(), "options": each.options.to_dict(), **shared}
            each.folder.write_plan(masked_json(plan, each.ledger.stones.names_of_keys()))

    def _results(self, units: Units) -> Iterator[Receipt | LostUnit]:
        for result in self._executor.run(units, self._check):
            self._check()
            if isinstance(result, Receipt):
                self.throughput.add(result)
                for number, (each, receipt) in enumerate(zip(self._sets, result.all_sets, strict=True)):
                    each.ledger.add(receipt)
                    require_storable(each.ledger, each.options.recipe.dtype, each.name, number)
            yield result

    def _check(self) -> None:
        self.heartbeat.check()
        self._grace.check()
        if self._grace.leaving:  # SIGTERM may have come before there were units to drain
            self._executor.drain()
