"""What `bench_gpu` found, as lines for a terminal."""

from __future__ import annotations

from typing import Any


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
    for row in found["constants"]:
        head = f"{row['network']:16} {row['precision']:9} {row['batch']:5}"
        lines.append(f"{head} {row['on_device']:8.0f} with the weights compiled in")
    for row in found["peer"]:
        lines.append(f"{row['network']:16} torch {row['kind']:8} {row['batch']:5} {row['on_device']:8.0f} {row['from_host']:8.0f}")
    for row in found["cosines"]:
        lines.append(f"{row['network']:40} {row['precision']:9} cosine least {row['least']:.6f} median {row['median']:.6f}")
    return "\n".join(lines)
