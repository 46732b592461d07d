"""How much memory a batch takes while a network is trained on it, and how much there is."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

import keras
import tensorflow as tf

from storage.errors import UsageError

CGROUP = Path("/sys/fs/cgroup")
COPIES = 2  # an activation is kept for the way back, and has a gradient while its layer is on it
BATCH_SIZE, BATCH_BYTES = 32, 1 << 30  # 1 GiB: batches are made smaller by themselves above that


def training_bytes(model: keras.Model) -> int:
    """Bytes that one image takes in a training step of a model with a graph of its own, and of the models inside of it."""
    nodes = [node for operation in model.operations for node in operation._inbound_nodes]
    own = int(4 * COPIES * sum(prod(tensor.shape[1:]) for node in nodes for tensor in node.output_tensors))
    return own + sum(training_bytes(layer) for layer in model.layers if isinstance(layer, keras.Model))


def available_bytes() -> int:
    """Of main memory: what is free or can be freed, and what a container may still take."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        limit, used = (CGROUP / name for name in ("memory.max", "memory.current"))
        return min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError, StopIteration):  # no Linux, or no container with a limit
        return free


def default_batch(model: keras.Model) -> int:
    """Images of a batch where none is asked for."""
    return max(1, min(BATCH_SIZE, BATCH_BYTES // training_bytes(model)))


def require_room(model: keras.Model, batch_size: int, way_out: str) -> None:
    """Raise UsageError where a batch of so many would not fit into main memory; what fits into a GPU only trying tells.

    way_out: what beside a smaller batch would help.
    """
    if tf.config.list_logical_devices("GPU"):
        return
    one, free = training_bytes(model), max(0, available_bytes())
    if batch_size * one > free:
        fitting = f"--batch-size {1 << (free // one).bit_length() - 1}, or " if free >= one else ""
        raise UsageError(
            f"a batch of {batch_size} does not fit in memory: it takes about {batch_size * one / 2**30:.1f} GiB to train the network on, "
            f"and {free / 2**30:.1f} GiB are free. Try {fitting}{way_out}"
        )
