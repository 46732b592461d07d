"""What driver and workers tell each other about a run. Imports no TensorFlow, because a Ray driver has none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from extractor.engine_choice import AS_USUAL, EngineChoice
from extractor.limits import DEFAULT_LIMITS, Limits
from storage.golden import GoldenImages
from storage.runs import RunFolder
from storage.shard import embedding_bytes
from storage.shard_layout import ShardLayout
from storage.space import Space
from storage.tombstones import NOTHING, Tombstones


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker found when it built its backbone."""

    space: Space
    shape: tuple[int, ...]
    where: str  # for messages: host and device
    environment: dict[str, str]  # for provenance: engine, device, library versions
    threads: int = 1  # CPU cores that it uses, where it has no GPU
    host_cores: int = 1  # that its machine has for all of its workers
    engine: EngineChoice = AS_USUAL  # with the batch size that it has
    cautions: tuple[str, ...] = ()  # what the user should know of how it differs from the driver
    also: tuple[WorkerInfo, ...] = ()  # for the further sets of the run: their spaces and shapes

    @property
    def image_bytes(self) -> int:
        """Stored bytes of one image: the embeddings of all its views."""
        return len(self.space.views) * embedding_bytes(self.shape, self.space.dtype)

    @property
    def all_sets(self) -> tuple[WorkerInfo, ...]:
        return (self, *self.also)


@dataclass(frozen=True)
class Job:
    """What is the same for all units of one run."""

    run: RunFolder
    corpus: str
    base: Path  # relative locations of items start here
    format: str
    layout: ShardLayout
    golden: GoldenImages
    limits: Limits = DEFAULT_LIMITS
    views: int = 1  # of an image
    stones: Tombstones = NOTHING  # what was taken down, as far as it concerns the set
    also: tuple[Job, ...] = ()  # what is different for the further sets of the run

    @property
    def all_sets(self) -> tuple[Job, ...]:
        return (self, *self.also)

    @property
    def image_bytes(self) -> int:
        return self.views * self.layout.embedding_bytes
