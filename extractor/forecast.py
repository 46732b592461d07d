"""What a run will take, before it: images, bytes, shards, time and money; and how fast this space was embedded on this hardware before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any

import pyarrow.compute as pc

from extractor.corpus import BYTES, Item, Items
from extractor.diff import Diff
from extractor.hardware import Hardware, hardware_of
from extractor.job import WorkerInfo
from extractor.ledger import Ledger
from extractor.plan import make_units
from storage.catalog import set_names
from storage.errors import PermafrostError
from storage.feature_set import read_description
from storage.names import SetName
from storage.runs import run_folders

MIN_IMAGES = 100  # of a run whose rate is worth something
NO_RATE = "no run has measured it"
SAMPLE = 64  # images that a calibration embeds with each worker


@dataclass(frozen=True)
class Rate:
    """Images a second of all workers together, and in words where the number comes from."""

    images_per_second: float
    source: str


@dataclass(frozen=True)
class Forecast:
    """Upper bounds: of the images to read, those that turn out to be known are read and not embedded. None: not known.

    Of several sets that one run makes, what they share stands with the first one: bytes to read, seconds and price. It is 0 with the
    others, so that it adds up.

    exact: all of them were read (`extractor.preview`), so that these are no bounds, but what will be if nothing changes until then.
    """

    images: int
    bytes_to_read: int | None
    shards: int
    shard_bytes: int
    images_per_second: float | None
    rate_source: str
    seconds: float | None
    price: float | None
    exact: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def make_forecast(diff: Diff, worker: WorkerInfo, rate: Rate | None, price_an_hour: float | None) -> Forecast:
    """Of the items to read, those that seem to have only moved are not counted as images to embed."""
    images = len(diff.to_read) - diff.moved
    each = worker.image_bytes
    return _priced(images, diff.bytes_to_read, len(make_units(diff.to_read, each)), images * each, rate, price_an_hour, exact=False)


def exact_forecast(ledger: Ledger, worker: WorkerInfo, rate: Rate | None, price_an_hour: float | None) -> Forecast:
    """Of a ledger that `extractor.preview` has filled."""
    images, new = ledger.counters["embedded"], ledger.counters["embedded"] + ledger.counters["copied"]
    size = ledger.counters["bytes_read"]
    return _priced(images, size, len(ledger.new_shards), new * worker.image_bytes, rate, price_an_hour, exact=True)


def shared(forecasts: Sequence[Forecast], files: Items, rate: Rate | None, price_an_hour: float | None) -> list[Forecast]:
    """Those of all sets of a run, which reads `files`."""
    if len(forecasts) == 1:
        return list(forecasts)
    images = min(len(files), sum(each.images for each in forecasts))
    seconds = _seconds(images, rate)
    first = replace(forecasts[0], bytes_to_read=_bytes(files), seconds=_rounded(seconds), price=_price(seconds, price_an_hour))
    nothing = None if seconds is None else 0.0
    return [first, *(replace(each, bytes_to_read=0, seconds=nothing, price=_price(nothing, price_an_hour)) for each in forecasts[1:])]


def _bytes(files: Items) -> int | None:
    """None: of some the source does not say it."""
    blocks = [(pc.sum(block[BYTES]).as_py() or 0, block[BYTES].null_count) for block in files.rows.blocks()]
    return None if any(unknown for _, unknown in blocks) else sum(size for size, _ in blocks)


def _seconds(images: int, rate: Rate | None) -> float | None:
    if not images:
        return 0.0
    return images / rate.images_per_second if rate and rate.images_per_second else None


def _price(seconds: float | None, price_an_hour: float | None) -> float | None:
    return round(seconds / 3600 * price_an_hour, 2) if seconds is not None and price_an_hour is not None else None


def _rounded(seconds: float | None) -> float | None:
    return round(seconds, 1) if seconds is not None else None


def _priced(
    images: int, bytes_to_read: int | None, shards: int, shard_bytes: int, rate: Rate | None, price_an_hour: float | None, exact: bool
) -> Forecast:
    seconds = _seconds(images, rate)
    return Forecast(
        images=images,
        bytes_to_read=bytes_to_read,
        shards=shards,
        shard_bytes=shard_bytes,
        images_per_second=round(rate.images_per_second, 2) if rate else None,
        rate_source=rate.source if rate else NO_RATE,
        seconds=_rounded(seconds),
        price=_price(seconds, price_an_hour),
        exact=exact,
    )


def measured_rate(name: SetName, workers: Sequence[WorkerInfo]) -> Rate | None:
    """That of the newest run in the store that embedded in the same space, and in no other, on the same kind of device with the
    same engine.

    In proportion to the GPUs, or CPU cores, that its workers used and these do. How many workers share them says nothing.
    """
    space, hardware, engine = workers[0].space.id, hardware_of(workers), workers[0].engine.name
    newest: _Measured | None = None
    for each in set_names(name.root):
        with suppress(PermafrostError, OSError):  # OSError: another team's, and not ours to read
            if read_description(each).space.id == space:
                newest = max(filter(None, (newest, _newest_rate(each, hardware.device, engine))), key=lambda found: found.run, default=None)
    if newest is None:
        return None
    source = f"run {newest.run} in this space, {newest.images_per_second:,.0f} images/s on {newest.hardware}"
    return Rate(newest.images_per_second * hardware.count / newest.hardware.count, source)


def sample(items: Items, workers: int) -> list[Item]:
    """Spread over the items, SAMPLE for each worker at most."""
    return spread(items, SAMPLE * max(1, workers))


def spread(items: Items, most: int) -> list[Item]:
    """So many of them, or all: one of each of as many equal parts of the listing. Of as many items always those at the same places.

    Drawn, not the first of each part: names are often regular, and of a corpus whose every second image is new all of the sample were old.
    """
    wanted, draw = min(len(items), most), Random(0)
    starts = [i * len(items) // wanted for i in range(wanted)] + [len(items)]
    return [items[start + int(draw.random() * (stop - start))] for start, stop in pairwise(starts)]


@dataclass(frozen=True)
class _Measured:
    run: str
    images_per_second: float
    hardware: Hardware


def is_a_measure(counts: Mapping[str, int]) -> bool:
    """Whether a run's rate says how fast images are embedded: enough of them were, and most files that it read were such images."""
    return counts["embedded"] >= MIN_IMAGES and 2 * counts["embedded"] >= counts["read"]


def _newest_rate(name: SetName, device: str, engine: str) -> _Measured | None:
    """That of the set's newest run on such a device with this engine, as far as reports tell it."""
    for folder in reversed(run_folders(name)):
        report = folder.read_report() or {}
        same = (report.get("hardware", {}).get("device"), report.get("environment", {}).get("engine")) == (device, engine)
        if same and _is_a_measure(report):
            return _Measured(folder.run_id, report["images_per_second"], Hardware.from_dict(report["hardware"]))
    return None


def _is_a_measure(report: Mapping[str, Any]) -> bool:
    """Enough images, of one set, by workers that were there from the start to the end, and alone."""
    came_or_went = report["joined_workers"] or report["left_workers"]
    helped = report["counts"].get("helped")  # not in reports of older versions
    return is_a_measure(report["counts"]) and len(report["sets"]) == 1 and not (came_or_went or helped)
