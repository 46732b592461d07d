"""The stages of a run by name: whose time each one is, and how it is counted. Drives the report and its tests.

Four kinds that must not be added to each other: wall-clock seconds of the driver's one thread; wall-clock seconds of a worker's
reader or forward thread, summed over workers; seconds of thread pools, summed over threads, so that more than one a second may pass;
and those of decode helpers, likewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

DRIVER, READER, FORWARD, POOLS, HELPERS = "driver", "reader", "forward", "pools", "helpers"

THREADS = {
    DRIVER: "the driver's thread; wall clock",
    FORWARD: "each worker's thread that embeds and writes; wall clock, summed over workers",
    READER: "each worker's thread that hashes, claims and hands files to the decoder; wall clock, summed over workers",
    POOLS: "each worker's threads that read files and decode images; summed over all threads",
    HELPERS: "decode helpers' threads that read files and decode images for workers; summed over all threads",
}


@dataclass(frozen=True)
class Stage:
    thread: str  # key of THREADS
    what: str
    waiting: bool = False


STAGES: dict[str, Stage] = {
    "list": Stage(DRIVER, "listing the corpus"),
    "start": Stage(DRIVER, "starting workers, building the network"),
    "compare": Stage(DRIVER, "comparing the listing with what is known"),
    "calibrate": Stage(DRIVER, "calibrating the network, or taking the one that the set has"),
    "engine": Stage(DRIVER, "measuring engines"),
    "prepare": Stage(DRIVER, "golden images, claims, plan"),
    "weigh": Stage(DRIVER, "weighing the precision: some images in float32 as well"),
    "work": Stage(DRIVER, "workers at work on units"),
    "lend": Stage(DRIVER, "copying embeddings of other sets"),
    "commit": Stage(DRIVER, "settling the account, writing the version"),
    "ask": Stage(DRIVER, "asking a head what the precision costs"),
    "wait": Stage(FORWARD, "waiting for decoded images", waiting=True),
    "infer": Stage(FORWARD, "forward pass"),
    "write": Stage(FORWARD, "writing embeddings"),
    "publish": Stage(FORWARD, "closing, syncing and naming the shard, while no other unit is embedded"),
    "wait_read": Stage(READER, "waiting for files to be read", waiting=True),
    "hash": Stage(READER, "hashing, looking at headers"),
    "wait_claim": Stage(READER, "waiting for the driver to grant claims", waiting=True),
    "wait_decoder": Stage(READER, "waiting for the decoder to take files", waiting=True),
    "read": Stage(POOLS, "reading files"),
    "decode": Stage(POOLS, "decoding images"),
    "decode_idle": Stage(POOLS, "decoding threads with nothing to do", waiting=True),
    "help_read": Stage(HELPERS, "reading files"),
    "help_decode": Stage(HELPERS, "decoding images"),
}

WORK = "work"
BEFORE_WORK = tuple(takewhile(lambda name: name != WORK, STAGES))  # the driver's, in their order
