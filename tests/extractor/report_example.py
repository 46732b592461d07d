"""A report with hostile names in it, made as a run makes it but without one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from extractor.forecast import NO_RATE, Forecast
from extractor.job import WorkerInfo
from extractor.options import ExtractOptions
from extractor.receipt import Receipt
from extractor.recipe import Recipe
from extractor.report import Circumstances, make_report
from extractor.result import ExtractResult
from extractor.throughput import Throughput
from storage.files import FileEntry
from storage.items import REJECT_SCHEMA
from storage.manifest import CorpusState, Manifest
from storage.space import Space

HOSTILE = ["<script>alert(1)</script>.jpg", '"><img src=http://127.0.0.1:9/x onerror=alert(2)>.png', "a'&amp;b\x1b[31m\u202egpj.exe"]
SECONDS = {"list": 0.5, "start": 4.0, "work": 10.0, "wait": 11.0, "infer": 5.0, "write": 0.5, "publish": 0.25, "wait_decoder": 7.0,
           "hash": 1.0, "decode": 15.0, "decode_idle": 1.0, "read": 2.0}  # fmt: skip
FORECAST = Forecast(40, 50_000, 1, 2048, None, NO_RATE, None, None)
SPACE = Space("g", "w", "l", "avg", 32, "image-v1", "tf", "float32", "float16")


class _Ticking:
    now = 0.0

    def __call__(self) -> float:
        self.now += 2.5
        return self.now


def make_example(units: int = 4, complete: bool = True, failures: tuple[str, ...] = ()) -> dict[str, Any]:
    """40 listed = 33 rows + 7 rejected + 0 pending; `units` finished units of 10 items each."""
    reasons = {"corrupt": 4, "not-an-image": 3}
    keys = [*HOSTILE, *[f"bad/{i}.jpg" for i in range(4)]]
    columns = {"key": keys, "corpus": ["photos"] * 7, "digest": [b"0" * 32] * 7, "stamp": ["1-1"] * 7,
               "reason": ["not-an-image"] * 3 + ["corrupt"] * 4, "message": ["<b>broken</b>"] * 7}  # fmt: skip
    files = [FileEntry(f"{kind}/x.parquet", "x", 100, rows) for kind, rows in (("items", 33), ("rejects", 7), ("shards", 33))]
    state = CorpusState("/photos", 40, 33, 7, 0, {}, (files[0],), ("x",), files[1])
    throughput = Throughput(_Ticking())
    throughput.begin(40)
    counters = {"read": 10, "decoded": 9, "embedded": 8, "bytes_read": 12345}
    for i in range(units):
        table = pa.table({"key": ["k"] * 10})
        throughput.add(Receipt(f"{i}", "photos", None, table, counters, {"wait": 1.0, "infer": 1.0}, f"host/{i % 2}/1"))
    result = ExtractResult(
        set="store/team/<set>", corpus="photos", listed=40, read=10 * units, decoded=9 * units, embedded=8 * units,
        twice=0, reused=1, copied=0, rows=33, rejected=7, pending=0, skipped={"hidden": 2}, reasons=reasons, new=40, changed=0, deleted=0,
        kinds={"new": 40}, files=10 * units, to_read=10 * units, forecast=FORECAST.to_dict(),
        seconds=15.5, images_per_second=3.2, version=3,
        committed=units > 0, space_id="space", shards=1, bytes=2048, run="20260101T000000Z-00000000",
        workers=2, replaced_workers=0, joined_workers=0, left_workers=0, complete=complete,
        engine={"name": "tensorflow", "batch_size": 32, "why": ""},
        failures=list(failures), stage_seconds=SECONDS if units else {"list": 0.5, "start": 4.0},
    )  # fmt: skip
    around = Circumstances(
        source="/photos",
        host="host",
        finished=datetime(2026, 1, 2, tzinfo=UTC),
        before=2 if units else 3,
        manifest=Manifest(3, 2, "n", "now", "space", (files[2],), files[2], {"photos": state}),
        rejects=[pa.table(columns, schema=REJECT_SCHEMA)],
        throughput=throughput.to_dict(),
        sets=("store/team/<set>",),
    )
    worker = WorkerInfo(SPACE, (4,), "host (CPU)", {"device": "CPU", "keras": "3"})
    return make_report(result, ExtractOptions(Recipe("mobilenet_v2", "random:1")), [worker, worker], around)
