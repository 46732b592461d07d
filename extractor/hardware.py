"""What the workers of a run compute on, counted so that rates of two runs can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from extractor.job import WorkerInfo


@dataclass(frozen=True)
class Hardware:
    """`device`: the name of a GPU, or CPU. `count`: GPUs that the workers use, or CPU cores. Workers that share some add nothing."""

    device: str
    count: int

    def __str__(self) -> str:
        return f"{self.count} {'core' if self.device == 'CPU' else self.device}{'s' * (self.device == 'CPU' and self.count != 1)}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Hardware:
        return cls(value["device"], value["count"])


def hardware_of(workers: Sequence[WorkerInfo]) -> Hardware:
    """Workers on one GPU say the same of where they are: host, device and its number."""
    device = workers[0].environment["device"]
    return Hardware(device, _cores(workers) if device == "CPU" else len({worker.where for worker in workers}))


def _cores(workers: Sequence[WorkerInfo]) -> int:
    """Of each host what its workers' threads fill, and no more than it has."""
    threads: Counter[str] = Counter()
    there: dict[str, int] = {}
    for worker in workers:
        host = worker.where.partition(" ")[0]
        threads[host] += worker.threads
        there[host] = worker.host_cores
    return sum(min(n, there[host]) for host, n in threads.items())
