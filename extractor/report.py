"""The report of a finished run as one JSON document: what came in, where it went, how long what took, and what binds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from extractor.bottleneck import Bottleneck, find_bottleneck, worker_seconds
from extractor.hardware import hardware_of
from extractor.job import WorkerInfo
from extractor.options import ExtractOptions
from extractor.result import ExtractResult
from extractor.stages import STAGES, THREADS
from storage.manifest import Manifest

REPORT_FORMAT = 1
MAX_EXAMPLES = 5  # rejects named for each reason; the rejects file of the version has them all
_COUNTS = (
    "listed",
    "rows",
    "rejected",
    "pending",
    "files",
    "to_read",
    "read",
    "decoded",
    "helped",
    "embedded",
    "twice",
    "reused",
    "copied",
    "new",
    "changed",
    "deleted",
    "relabelled",
)


@dataclass(frozen=True)
class Circumstances:
    """What a report says beside the result."""

    source: str  # where the corpus lies
    host: str  # of the driver
    finished: datetime  # UTC
    before: int | None  # version that this run built on
    manifest: Manifest  # the version that is there now
    rejects: Iterable[pa.Table]  # REJECT_SCHEMA, all of them
    throughput: dict[str, Any]  # of Throughput.to_dict
    sets: tuple[str, ...]  # all that the run made, which shared its time


def make_report(result: ExtractResult, options: ExtractOptions, workers: Sequence[WorkerInfo], around: Circumstances) -> dict[str, Any]:
    """Seconds are grouped by thread, because wall-clock time and sums over threads must not be added up."""
    corpus = around.manifest.corpora[result.corpus]
    return {
        "format": REPORT_FORMAT,
        "run": result.run,
        "set": result.set,
        "sets": list(around.sets),
        "corpus": {"id": result.corpus, "source": around.source},
        "host": around.host,
        "started": (around.finished - timedelta(seconds=result.seconds)).isoformat(timespec="seconds"),
        "finished": around.finished.isoformat(timespec="seconds"),
        "complete": result.complete,
        "counts": {name: getattr(result, name) for name in _COUNTS},
        "rejects": _rejects(result.reasons, around.rejects),
        "rejects_file": corpus.rejects.path if corpus.rejects else None,
        "skipped": result.skipped,
        "failures": result.failures,
        "versions": {"before": around.before, "after": result.version, "committed": result.committed},
        "sizes": {
            "bytes_read": around.throughput["points"][-1][3],
            "new_shards": result.shards,
            "new_shard_bytes": result.bytes,
            "version_shards": len(around.manifest.shards),
            "version_bytes": around.manifest.counts["bytes"],
        },
        "seconds": _seconds(result),
        "images_per_second": result.images_per_second,
        "kinds": result.kinds,
        "forecast": result.forecast,
        "cost": result.cost,
        "saved_seconds": result.saved_seconds,
        "bottleneck": asdict(_bottleneck(result, workers, bool(options.decode_helpers))),
        "throughput": around.throughput,
        "workers": [worker.where for worker in workers],
        "replaced_workers": result.replaced_workers,
        "joined_workers": result.joined_workers,
        "left_workers": result.left_workers,
        "hardware": hardware_of(workers).to_dict(),
        "engine": result.engine,
        "precision": result.precision,
        "environment": workers[0].environment,
        "space_id": result.space_id,
        "settings": options.to_dict(),
    }


def _bottleneck(result: ExtractResult, workers: Sequence[WorkerInfo], helped: bool) -> Bottleneck:
    on_gpu = workers[0].environment["device"] != "CPU"
    return find_bottleneck(result.stage_seconds, result.workers, on_gpu, result.replaced_workers, helped)


def _rejects(reasons: dict[str, int], rejects: Iterable[pa.Table]) -> dict[str, Any]:
    examples: dict[str, list[dict[str, str]]] = {reason: [] for reason in reasons}
    for table in rejects:
        for key, reason, message in zip(*(table[name].to_pylist() for name in ("key", "reason", "message")), strict=True):
            if len(examples[reason]) < MAX_EXAMPLES:
                examples[reason].append({"key": key, "message": message})
    return {reason: {"count": count, "examples": examples[reason]} for reason, count in reasons.items()}


def _seconds(result: ExtractResult) -> dict[str, Any]:
    groups: dict[str, Any] = {
        thread: {name: result.stage_seconds.get(name, 0.0) for name, stage in STAGES.items() if stage.thread == thread}
        for thread in THREADS
    }
    no_unit = worker_seconds(result.stage_seconds, result.workers)["no_unit"]
    groups["forward"]["no_unit"] = round(no_unit, 3)
    return {"total": result.seconds, **groups}
