"""What binds a run: which stage decided how long the work took, in a word and in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from extractor.stages import BEFORE_WORK, DRIVER, FORWARD, READER, STAGES, WORK

# What to do about each, as the end of a sentence.
_WAYS_OUT = {
    "infer": "more machines, or machines with a GPU, would help",
    "infer on GPUs": "more GPUs would help",
    "write": "a faster disk for the store would help",
    "no_unit": "fewer workers would take as long",
    "replaced": "find out why they die: not enough memory is the usual cause",
    "decode": "more CPU cores or smaller images would help",
    "decode on GPUs": "more CPU cores, smaller images, or --decode-helpers on nodes without GPUs would help",
    "decode with helpers": "more --decode-helpers, more CPU cores or smaller images would help",
    "read": "a faster disk or network to the corpus would help",
    "hash": "more CPU cores would help",
    "claim": "fewer workers, or a less busy machine for the driver, would help",
    "fill": "units are short here: more images at a time would be embedded faster",
}
_READER_CAUSES = {"wait_read": "read", "hash": "hash", "wait_claim": "claim", "wait_decoder": "decode"}
_NAMES = {"decode": "decoding", "read": "reading", "hash": "hashing", "claim": "claims", "fill": "starting units"}


@dataclass(frozen=True)
class Bottleneck:
    """`stage`: infer, write, no_unit, replaced, decode, read, hash, claim, fill; "" without work. `share` of the workers' time."""

    stage: str
    share: float
    words: str


def worker_seconds(seconds: Mapping[str, float], workers: int) -> dict[str, float]:
    """The time of all workers while units were at work, by stage of their forward thread; `no_unit`: nothing left to do for them."""
    busy = {name: seconds.get(name, 0.0) for name, stage in STAGES.items() if stage.thread == FORWARD}
    return busy | {"no_unit": max(0.0, workers * seconds.get("work", 0.0) - sum(busy.values()))}


def find_bottleneck(
    seconds: Mapping[str, float], workers: int, on_gpu: bool = False, replaced: int = 0, helped: bool = False
) -> Bottleneck:
    """seconds: by stage, as in ExtractResult.stage_seconds. replaced: workers that died during the work. helped: they had helpers.

    Its words begin with what took longer than all work on units, if anything did: more machines leave that as it is.
    """
    found = _in_work(seconds, workers, on_gpu, replaced, helped)
    if larger := _larger_part(seconds):
        return replace(found, words=f"{larger} {'Of that work: ' if found.stage else ''}{found.words}")
    return found


def _larger_part(seconds: Mapping[str, float]) -> str:
    of_run = {name: seconds.get(name, 0.0) for name, stage in STAGES.items() if stage.thread == DRIVER}
    largest, total = max(BEFORE_WORK, key=lambda name: of_run[name]), sum(of_run.values())
    if of_run[largest] <= of_run[WORK]:
        return ""
    shares = f"{of_run[largest] / total:.0%} of the run, and work on units {of_run[WORK] / total:.0%}"
    return f"The larger part was {STAGES[largest].what}: {shares}."


def _in_work(seconds: Mapping[str, float], workers: int, on_gpu: bool, replaced: int, helped: bool) -> Bottleneck:
    spent = worker_seconds(seconds, workers)
    total = sum(spent.values())
    if not any(seconds.get(name) for name in ("wait", "infer")):
        return Bottleneck("", 0.0, "Workers finished no unit: there was none, or none could be finished.")
    if not seconds.get("infer") and not seconds.get("decode"):
        return Bottleneck("", 0.0, "No image was decoded: each file that was read is known, or is a reject.")
    shares = {
        "infer": spent["infer"] / total,
        "write": (spent["write"] + spent["publish"]) / total,
        "wait": spent["wait"] / total,
        "no_unit": spent["no_unit"] / total,
    }
    largest = max(shares, key=lambda name: shares[name])
    share = shares[largest]
    if largest == "infer":
        idle = _decoders_idle(seconds)
        aside = f", while the decoding threads had nothing to do {idle:.0%} of theirs" if idle is not None else ""
        way_out = _WAYS_OUT["infer on GPUs" if on_gpu else "infer"]
        return Bottleneck("infer", round(share, 4), f"The forward pass: it was busy {share:.0%} of the workers' time{aside}; {way_out}.")
    if largest == "write":
        return _told("write", share, f"Writing: it took {share:.0%} of the workers' time")
    if largest == "no_unit" and replaced:
        return _told("replaced", share, f"Dead workers: {replaced} died, and the workers were without a unit {share:.0%} of their time")
    if largest == "no_unit":
        return _told("no_unit", share, f"The end of the run: workers had no unit left to do {share:.0%} of their time")
    cause = _why_it_waited(seconds)
    circumstances = (" with helpers" if helped else " on GPUs" if on_gpu else "") if cause == "decode" else ""
    words = f"{_NAMES[cause].capitalize()}: the forward pass waited {share:.0%} of its time for images"
    return _told(cause, share, words, circumstances)


def _told(stage: str, share: float, words: str, circumstances: str = "") -> Bottleneck:
    return Bottleneck(stage, round(share, 4), f"{words}; {_WAYS_OUT[stage + circumstances]}.")


def _why_it_waited(seconds: Mapping[str, float]) -> str:
    """The reader's largest stage; but where it waits for decoders that idle themselves, the units are too short to fill them."""
    largest = max((name for name, stage in STAGES.items() if stage.thread == READER), key=lambda name: seconds.get(name, 0.0))
    if largest == "wait_decoder" and (_decoders_idle(seconds) or 0.0) > 0.5:
        return "fill"
    return _READER_CAUSES[largest]


def _decoders_idle(seconds: Mapping[str, float]) -> float | None:
    busy, idle = seconds.get("decode", 0.0), seconds.get("decode_idle", 0.0)
    return idle / (busy + idle) if busy + idle else None
