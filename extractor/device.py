"""What a process must settle before it embeds: threads, visible devices, memory growth, and what becomes of freed memory."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from extractor.lean_imports import import_lean

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
KEPT_BYTES = 1 << 30  # 1 GiB


def prepare_process(threads: int, use_gpus: bool) -> None:
    """Set up TensorFlow in a fresh process. inter_op is at least 2 because 1 deadlocks tf.data's Python functions."""
    import_lean()
    keep_freed_memory()
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


def keep_freed_memory() -> None:
    """Let this process use freed memory again, up to KEPT_BYTES of it, where it has glibc; elsewhere nothing is done.

    glibc gives blocks from 32 MiB on back to the kernel when they are freed (mallopt(3), M_MMAP_THRESHOLD), which fills each page of the
    next one with zeros: the activations of a batch, again and again. Files to shards, runs in turn, ResNet50 on 2 cores with AMX: bfloat16
    131 for 122 images/s, float32 38.3 for 36.2, with 6% more memory at the peak; MobileNetV2, whose activations are smaller, the same.
    A higher threshold for blocks of their own brings nothing: malloc's other arenas, of threads, hold no such blocks.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def usable_cores() -> int:
    """CPU cores that this process may use at once: those of the machine, less what its container or affinity does not allow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # ValueError: "max", which is no limit
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores
