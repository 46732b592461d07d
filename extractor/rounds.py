"""The work of one run: units go to the workers, round after round, until what each item waits for has arrived or is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from extractor.corpus import Items
from extractor.executor import Executor
from extractor.grace import Grace
from extractor.heartbeat import Heartbeat
from extractor.job import Job
from extractor.ledger import Ledger
from extractor.options import ExtractOptions
from extractor.plan import Units, make_units
from extractor.receipt import Receipt
from extractor.refusals import require_storable
from extractor.stopwatch import Stopwatch
from extractor.throughput import Throughput
from extractor.unit_queue import LostUnit
from storage.errors import DiskFullError
from storage.lending import Lender, copy_embeddings
from storage.names import SetName
from storage.patience import full_disk_told
from storage.runs import RunFolder
from storage.shard import shard_format

MAX_ROUNDS = 5  # of units for duplicates whose first copy sat in a lost unit


@dataclass(frozen=True)
class Progress:
    """`done` of `total` items to read; 0 when the workers are ready, then after each unit."""

    done: int
    total: int


class Rounds:
    """Hands units out, enters what comes back into the ledger, and listens to those who want the run to stop."""

    def __init__(
        self,
        name: SetName,
        folder: RunFolder,
        options: ExtractOptions,
        executor: Executor,
        clock: Stopwatch,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._name, self._folder, self._options, self._executor, self._clock = name, folder, options, executor, clock
        self._on_progress = on_progress
        self._units_made = 0
        self.throughput = Throughput()
        self.heartbeat = Heartbeat(folder, self.throughput.now)
        self._grace = Grace(options.grace, executor.drain)

    @contextmanager
    def full_disk_told(self) -> Iterator[None]:
        """Say of a full disk how far the work has come."""
        try:
            with full_disk_told(self._name.folder):
                yield
        except DiskFullError as error:
            now = self.throughput.now()
            raise DiskFullError(
                f"{error}. {now['done']} of {now['total']} images to read were finished and are kept: make room, and run the same command "
                "again to go on"
            ) from None

    def work(self, ledger: Ledger, lenders: Sequence[Lender], job: Job, about: Mapping[str, Any]) -> list[LostUnit]:
        """Read and embed what the ledger has to read; returns the units that were given up. `about`: what the plan says of the run."""
        units = self._units(ledger.diff.to_read, job)
        self._write_plan(units, about)
        total = len(ledger.diff.to_read)
        done, lost = 0, []
        self.throughput.begin(total)
        for _ in range(MAX_ROUNDS):
            with self._grace:
                self._on_progress(Progress(min(done, total), total))
                self._executor.tell_pending(max(0, total - done))
                for result in self._results(units, ledger):
                    if isinstance(result, LostUnit):
                        lost.append(result)
                        done += len(result.unit.items)
                    else:
                        done += result.items.num_rows
                    self._on_progress(Progress(min(done, total), total))
                    self._executor.tell_pending(max(0, total - done))
                if self._grace.leaving:
                    raise KeyboardInterrupt
            self._clock.lap("work")
            for copied in copy_embeddings(ledger.homeless(), lenders, self._name, shard_format(job.format), job.layout):
                ledger.add_copied(copied)
            self._clock.lap("lend")
            units = self._units(ledger.unresolved(), job)
            if not len(units):
                break
            # What a lender turned out not to have is claimed as known still: begin again, with what is really here.
            self._executor.begin(job, ledger.index.digests())
        return lost

    def _units(self, items: Items, job: Job) -> Units:
        """Units with ids that this run has not used yet: each has a receipt by that name."""
        units = make_units(items, job.image_bytes, self._units_made)
        self._units_made += len(units)
        return units

    def _write_plan(self, units: Units, about: Mapping[str, Any]) -> None:
        self._folder.write_plan(
            {
                "run": self._folder.run_id,
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                **about,
                "options": self._options.to_dict(),
                "units": units.describe(),
            }
        )

    def _results(self, units: Units, ledger: Ledger) -> Iterator[Receipt | LostUnit]:
        for result in self._executor.run(units, self._check):
            self._check()
            if isinstance(result, Receipt):
                ledger.add(result)
                self.throughput.add(result)
                require_storable(ledger, self._options.recipe.dtype)
            yield result

    def _check(self) -> None:
        self.heartbeat.check()
        self._grace.check()
        if self._grace.leaving:  # SIGTERM may have come before there were units to drain
            self._executor.drain()
