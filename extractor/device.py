"""What a process must settle before TensorFlow's first operation: threads, visible devices, memory growth."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from extractor.lean_imports import import_lean


def prepare_process(threads: int, use_gpus: bool) -> None:
    """Set up TensorFlow in a fresh process. inter_op is at least 2 because 1 deadlocks tf.data's Python functions."""
    import_lean()
    import pyarrow  # noqa: F401 - before TensorFlow: the other order has crashed on some builds of both
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))
    gpus = tf.config.list_physical_devices("GPU")
    if not use_gpus:
        tf.config.set_visible_devices([], "GPU")
        return
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)


def usable_cores() -> int:
    """CPU cores that this process may use at once: those of the machine, less what its container or affinity does not allow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # ValueError: "max", which is no limit
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores
