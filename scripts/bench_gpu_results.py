"""What `bench_gpu` finds: a JSON file that grows, and lines for a terminal."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import jax


class Results:
    """Written to a file after each addition, so that a run that is cut off keeps what it has."""

    def __init__(self, path: Path | None, minutes: float) -> None:
        self._path, self._end = path, time.monotonic() + 60 * minutes
        device = jax.devices()[0]
        self.found: dict[str, Any] = {
            "device": device.device_kind,
            "platform": device.platform,
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "jax": jax.__version__,
            "peak_tflops": {},
            "cosines": [],
            "cells": [],
            "variants": [],
            "peer": [],
            "left_out": [],
        }

    @property
    def seconds_left(self) -> float:
        return self._end - time.monotonic()

    def add(self, part: str, row: dict[str, Any]) -> None:
        self.found[part].append(row)
        print(part, json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}), file=sys.stderr, flush=True)
        self.write()

    def write(self) -> None:
        if self._path:
            self._path.write_text(json.dumps(self.found, indent=1))


def table(found: dict[str, Any]) -> str:
    lines = [f"{found['device']}, jax {found['jax']}; peak TFLOP/s " + ", ".join(f"{k} {v:.0f}" for k, v in found["peak_tflops"].items())]
    lines.append(f"{'network':16} {'precision':9} {'batch':>5} {'device':>8} {'host':>8} {'engine':>8} {'GFLOP':>6} {'peak':>6}   images/s")
    for row in found["cells"]:
        head = f"{row['network']:16} {row['precision']:9} {row['batch']:5}"
        if "out_of_memory" in row:
            lines.append(f"{head} out of memory")
            continue
        numbers = f"{row['on_device']:8.0f} {row['from_host']:8.0f} {row['engine']:8.0f} {row['gflops_an_image']:6.2f} {row['peak']:6.1%}"
        lines.append(f"{head} {numbers}")
    for row in found["variants"]:
        head = f"{row['network']:16} {row['precision']:9} {row['batch']:5}"
        lines.append(f"{head} {row['on_device']:8.0f} {row['way']}")
    for row in found["peer"]:
        lines.append(f"{row['network']:16} torch {row['kind']:8} {row['batch']:5} {row['on_device']:8.0f} {row['from_host']:8.0f}")
    for row in found["cosines"]:
        lines.append(f"{row['network']:40} {row['precision']:9} cosine least {row['least']:.6f} median {row['median']:.6f}")
    return "\n".join(lines)
