"""The peer of `bench_gpu`: the same architectures in PyTorch (timm), bfloat16, channels last, plain and compiled. A JSON line a number.

A program of its own, so that its caller can end it in the middle of a compilation.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import timm
import torch

NAMES = {
    "resnet50": "resnet50",
    "efficientnet_b0": "efficientnet_b0",
    "convnext_tiny": "convnext_tiny",
    "vit_b16": "vit_base_patch16_224",
    "mobilenet_v2": "mobilenetv2_100",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="+", choices=sorted(NAMES), required=True)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=1.0, help="a measurement")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name in args.networks:
        model = timm.create_model(NAMES[name], pretrained=False, num_classes=0).eval()
        model = model.to(device, torch.bfloat16, memory_format=torch.channels_last)
        for kind in ("eager", "compiled"):
            with torch.inference_mode():
                found = _measured(model if kind == "eager" else torch.compile(model), device, args.batch, args.seconds)
            what = {"network": name, "kind": kind, "batch": args.batch, "device": device, "timm": NAMES[name], "torch": torch.__version__}
            print(json.dumps({**what, **found}), flush=True)


def _measured(model: Callable[[Any], Any], device: str, batch: int, seconds: float) -> dict[str, float]:
    """Images/s of batches on the device, and of uint8 batches in pinned memory of the host, embeddings fetched, one batch ahead."""
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8))
    host = pixels.pin_memory() if device == "cuda" else pixels
    there = pixels.to(device)

    def embed(images: Any) -> Any:
        x = images.permute(0, 3, 1, 2).to(torch.bfloat16)  # channels last already
        return model(x / 127.5 - 1)

    start = time.perf_counter()
    embed(there)
    _wait(device)
    first = time.perf_counter() - start
    for _ in range(3):
        embed(there)
    _wait(device)
    start, n = time.perf_counter(), 0
    while n < 4 or time.perf_counter() - start < seconds:
        for _ in range(4):
            embed(there)
            n += 1
        _wait(device)
    on_device = n * batch / (time.perf_counter() - start)
    waiting, n, start = None, 0, time.perf_counter()
    while n < 4 or time.perf_counter() - start < seconds:
        result = embed(host.to(device, non_blocking=True))
        if waiting is not None:
            waiting.float().cpu()
        waiting, n = result, n + 1
    assert waiting is not None
    waiting.float().cpu()
    return {"compile_seconds": first, "on_device": on_device, "from_host": n * batch / (time.perf_counter() - start)}


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
