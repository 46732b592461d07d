"""What a worker does with a unit for one feature set: the rows of its shard, and the receipt. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from extractor.job import Job
from extractor.plan import Unit
from extractor.receipt import Receipt, items_table, masked
from storage.files import FileEntry
from storage.new_shard import NewShard
from storage.stored import UNSTORABLE

if TYPE_CHECKING:
    from extractor.network import Part, Rejects
    from extractor.pipeline import Outcomes


@dataclass
class SetAccount:
    number: int  # of the set in the run
    shard: NewShard
    views: int
    rows: dict[int, int] = field(default_factory=dict)  # row of view 0 by position
    rejects: Rejects = field(default_factory=dict)  # beside those of decoding, which all sets share

    def add(self, part: Part, outcomes: Outcomes) -> None:
        digests = [outcomes.digests[position] for position in part.positions]
        self.rows.update({position: self.shard.rows + i * self.views for i, position in enumerate(part.positions)})
        self.shard.append([digest for digest in digests if digest], part.embeddings, self.views)
        self.rejects |= part.rejects

    def receipt(
        self,
        unit: Unit,
        job: Job,
        outcomes: Outcomes,
        shard: FileEntry | None,
        cost: Mapping[str, int],
        seconds: Mapping[str, float],
        worker: str,
    ) -> Receipt:
        """cost, seconds: of the unit, for the first set; the others cost nothing more."""
        rejects = {**self._shared_rejects(unit, outcomes), **self.rejects}
        table = masked(items_table(unit.items, outcomes.digests, self.rows, rejects), job.corpus, job.stones)
        unstorable = sum(reason in UNSTORABLE for reason, _ in rejects.values())
        return Receipt(unit.id, job.corpus, shard, table, {**cost, "embedded": len(self.rows) + unstorable}, seconds, worker)

    def _shared_rejects(self, unit: Unit, outcomes: Outcomes) -> Rejects:
        """What could not be read, and what could not be decoded for this set: what the set has already is not decoded for it, nor what it
        does not read."""
        claimed = outcomes.claimed
        return {
            position: reject
            for position, reject in outcomes.rejects.items()
            if unit.wanted_by(position) >> self.number & 1
            and (outcomes.digests[position] is None or claimed.get(position, 0) >> self.number & 1)
        }
