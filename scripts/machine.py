"""What there is to compute with here: cores, memory, disk, GPUs, libraries, engines and their precisions."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from extractor.device import usable_cores
from extractor.engine_choice import ENGINES, INT8, is_installed

LIBRARIES = ("tensorflow", "keras", "ray", "numpy", "pyarrow", "h5py", "obstore", "pillow")
EXTRAS = ("openvino", "nncf", "jax", "keras-hub", "onnx", "onnxruntime", "ai-edge-litert")
FAST_BITS = {"bfloat16": ("avx512_bf16", "amx_bf16"), INT8: ("avx512_vnni", "avx_vnni", "amx_int8")}  # flags of /proc/cpuinfo


def machine() -> dict[str, Any]:
    """Facts that need no library. memory_bytes: of the machine, or what its container may take."""
    folder = tempfile.gettempdir()
    return {
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "processor": _of_processor("model name") or platform.processor() or "unknown",
        "cores": usable_cores(),
        "computes_fast": ["float32", *(name for name, flags in FAST_BITS.items() if set(flags) & set(_of_processor("flags").split()))],
        "memory_bytes": _memory_bytes(),
        "temporary_folder": folder,
        "temporary_free_bytes": shutil.disk_usage(folder).free,
    }


def libraries() -> dict[str, str]:
    """Version by name, of what permafrost needs and of the extras that are installed."""
    found = {name: _version(name) for name in (*LIBRARIES, *EXTRAS)}
    return {name: number or "not installed" for name, number in found.items() if number or name in LIBRARIES}


def gpus() -> list[dict[str, Any]]:
    """Those that TensorFlow sees, which must have been imported."""
    import tensorflow as tf

    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return [
        {"name": each.get("device_name", "unknown"), "compute_capability": ".".join(map(str, each.get("compute_capability", ())))}
        for each in details
    ]


def engines(on_gpu: bool) -> list[dict[str, Any]]:
    """Each with whether it can be used here, and its precisions."""
    found = []
    for name, kind in ENGINES.items():
        missing = [] if is_installed(name) else [name]
        precisions = [each for each in kind.precisions if each != INT8 or _version("nncf")]
        devices = "GPU and CPU" if on_gpu and kind.on_gpu else "CPU"
        way_out = f"pip install 'permafrost[{name}]'" if missing else ""
        found.append({"engine": name, "usable": not missing, "devices": devices, "precisions": precisions, "way_out": way_out})
    return found


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _of_processor(name: str) -> str:
    """A line of /proc/cpuinfo; "" where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _memory_bytes() -> int:
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(there, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return there
