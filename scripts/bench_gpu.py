"""The JAX engine on a GPU: images/s by network, batch size and precision, share of the chip's peak, and how far embeddings move.

    KERAS_BACKEND=jax python -m scripts.bench_gpu --minutes 6 --out gpu.json
        --real "mobilenet_v2 weights.h5" --images FOLDER

Random weights, 224 pixels; needs no TensorFlow. `on_device`: batches that lie on the device already, results left there. `from_host`: one
call after the other by hand, each with uint8 batches of the host and its embeddings fetched. `engine`: `JaxEngine.embed` of eight batches
of the host. `peak` is the share that `on_device` has of what a product of two matrices of 8192 reaches in the same precision in the same
run; FLOPs are those that XLA counts in the graph before it optimises. Cells come in order of importance; each is written to --out when it
is done, and none is opened when the minutes are over. With --real, each network's embeddings are compared with those of this machine's CPU
in float32. The peer, PyTorch, is extra and runs when it is installed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import numpy.typing as npt

from extractor.backbones import Backbone, build, cut_out
from extractor.compute_precision import in_precision
from extractor.engine import OutOfMemoryError
from extractor.folding import folded
from extractor.jax_engine import FULL_FLOAT32, JaxEngine, JaxNetwork, float32_products
from extractor.keras_session import fresh_session
from extractor.recipe import Recipe
from scripts.bench_gpu_results import Results, table
from scripts.bench_options import above_zero, at_least, folder_of_jpegs, mistakes_told, new_file
from scripts.corpus_pixels import read_pixels
from scripts.vit import vit_b16
from storage.golden import cosines

PRECISIONS = ("bfloat16", "float16", "float32", "tf32")
# Multiply-adds count as two. From the papers and torchvision's tables; ViT-B/16 for 197 tokens.
KNOWN_GFLOPS = {"resnet50": 7.7, "efficientnet_b0": 0.8, "convnext_tiny": 8.9, "vit_b16": 35.1, "mobilenet_v2": 0.6}
GEMM, REPEATS, ENGINE_BATCHES = 8192, 3, 8
Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Cell:
    network: str
    precision: str
    batch: int


def ordered(networks: Sequence[str], batches: Sequence[int], precisions: Sequence[str]) -> list[Cell]:
    """All cells, what matters most first: all networks in each precision at the second largest batch, then other batches."""
    by_size = sorted(batches, reverse=True)
    order = by_size[1:2] + by_size[2:3] + by_size[:1] + by_size[3:] if len(by_size) > 1 else by_size
    first = [Cell(name, precision, order[0]) for precision in precisions for name in networks]
    return first + [Cell(name, precision, batch) for precision in precisions for batch in order[1:] for name in networks]


def random_backbone(name: str, folder: Path) -> Backbone:
    if name != "vit_b16":
        return build(Recipe(name, weights="random:0"))
    fresh_session()
    place = folder / "vit_b16.keras"
    place.touch()  # a recipe names a model file, which nothing reads here
    with keras.device("cpu"):  # where random values need no compilation worth a word
        model = vit_b16()
    return cut_out(model, Recipe(str(place), input_size=224, preprocessing="tf"))


def peak(precision: str, size: int, seconds: float) -> float:
    """TFLOP/s of products of two random [size, size] matrices on the device."""
    dtype = jnp.dtype("float32" if precision == "tf32" else precision)
    a, b = (jax.random.normal(jax.random.key(seed), (size, size), dtype) for seed in (0, 1))
    with jax.default_matmul_precision(float32_products(precision)):
        product = jax.jit(lambda a, b: a @ b).lower(a, b).compile()
    return 2 * size**3 * rate(lambda: product(a, b), seconds) / 1e12


def rate(call: Any, seconds: float) -> float:
    """Calls a second, the median of REPEATS: calls are queued, and the last of each group is waited for."""
    jax.block_until_ready(call())
    start = time.perf_counter()
    jax.block_until_ready(call())
    once = time.perf_counter() - start
    n = max(2, int(seconds / REPEATS / max(once, 1e-6)))
    rates = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(n):
            result = call()
        jax.block_until_ready(result)
        rates.append(n / (time.perf_counter() - start))
    return float(np.median(rates))


def measured(cell: Cell, engine: JaxEngine, seconds: float) -> dict[str, float]:
    """Images/s, each way."""
    images = np.random.default_rng(0).integers(0, 256, (ENGINE_BATCHES * cell.batch, 224, 224, 3), np.uint8)
    batches = [images[start : start + cell.batch] for start in range(0, len(images), cell.batch)]
    there = jax.device_put(batches[0], jax.devices()[0])

    def call(batch: Any) -> Any:
        return engine.compiled(engine.network.weights, batch)

    return {
        "on_device": cell.batch * rate(lambda: call(there), seconds),
        "from_host": len(images) * rate(lambda: [jax.device_get(call(batch)) for batch in batches], seconds),
        "engine": len(images) * rate(lambda: engine.embed(images), seconds),
    }


def compile_cell(cell: Cell, backbone: Backbone) -> JaxEngine | str:
    try:
        return JaxEngine(replace(backbone, recipe=replace(backbone.recipe, precision=cell.precision)), cell.batch)
    except OutOfMemoryError as error:
        return str(error)


def bench_cells(results: Results, cells: Sequence[Cell], backbones: dict[str, Backbone], jobs: int, seconds: float) -> None:
    """So many cells are compiled side by side, then measured one after the other."""
    flops: dict[str, float] = {}
    longest = 0.0
    for at in range(0, len(cells), jobs):
        group = cells[at : at + jobs]
        if results.seconds_left < longest:
            results.found["left_out"] = [asdict(cell) for cell in cells[at:]]
            return
        start = time.monotonic()
        with ThreadPoolExecutor(jobs) as pool:
            engines = list(pool.map(lambda cell: compile_cell(cell, backbones[cell.network]), group))
        compiled = time.monotonic() - start
        for cell, engine in zip(group, engines, strict=True):
            if isinstance(engine, str):
                results.add("cells", {**asdict(cell), "out_of_memory": engine})
                continue
            if cell.network not in flops:
                flops[cell.network] = flops_of(backbones[cell.network])
            row = measured(cell, engine, seconds)
            told = {"gflops_an_image": flops[cell.network] / 1e9, "known_gflops": KNOWN_GFLOPS.get(cell.network)}
            share = row["on_device"] * flops[cell.network] / 1e12 / results.found["peak_tflops"][cell.precision]
            results.add("cells", {**asdict(cell), **row, **told, "peak": share, "group_compile_seconds": compiled})
        longest = max(longest, time.monotonic() - start)


def bench_variants(results: Results, cell: Cell, backbone: Backbone, seconds: float) -> None:
    """The same network in other ways than the engine's: what each way of it gains or costs."""
    precision = cell.precision
    network = folded(backbone.model)
    ways: dict[str, tuple[keras.Model, bool]] = {
        "weights compiled in": (in_precision(network, precision), True),
        "depthwise in fewer bits too": (in_precision(network, precision, kept=lambda layer: False), False),
        "BatchNormalization not folded": (in_precision(backbone.model, precision), False),
    }
    device = jax.devices()[0]
    there = jax.device_put(np.random.default_rng(0).integers(0, 256, (cell.batch, 224, 224, 3), np.uint8), device)
    lowered = {}
    for way, (model, constants) in ways.items():
        network = JaxNetwork([backbone], device, model)
        closed = partial(network, network.weights) if constants else network
        arguments = (there,) if constants else (network.weights, there)
        with jax.default_matmul_precision(FULL_FLOAT32):
            lowered[way] = (jax.jit(closed).lower(*arguments), arguments)
    with ThreadPoolExecutor(len(ways)) as pool:
        compiled = list(pool.map(lambda each: each[0].compile(), lowered.values()))
    for (way, (_, arguments)), function in zip(lowered.items(), compiled, strict=True):
        found = cell.batch * rate(lambda: function(*arguments), seconds)  # noqa: B023 - called in this round
        results.add("variants", {**asdict(cell), "way": way, "on_device": found})


def flops_of(backbone: Backbone) -> float:
    """Of one image, as XLA counts them for the CPU before it optimises the graph: it counts none for GPUs."""
    return float(JaxNetwork([backbone], jax.devices("cpu")[0]).lower(1).cost_analysis()["flops"])


def bench_cosines(results: Results, real: Sequence[str], images: Images, precisions: Sequence[str]) -> None:
    """How far embeddings of networks with real weights move from those of this machine's CPU in float32."""
    for text in real:
        backbone = build(parse_real(text))
        cells = [Cell(text.rsplit("/", 1)[-1], precision, len(images)) for precision in precisions]
        with ThreadPoolExecutor(len(cells)) as pool:
            engines = list(pool.map(lambda cell: compile_cell(cell, backbone), cells))  # noqa: B023 - used in this round
        expected = JaxEngine(backbone, 16, device=jax.devices("cpu")[0])(images)
        for cell, engine in zip(cells, engines, strict=True):
            assert not isinstance(engine, str), engine
            values = cosines(expected, engine(images))
            found = {"least": float(values.min()), "median": float(np.median(values)), "images": len(images)}
            results.add("cosines", {"network": cell.network, "precision": cell.precision, **found})


def parse_real(text: str) -> Recipe:
    """`NAME [alpha=0.35] FILE`."""
    name, *args, file = text.split()
    return Recipe(name, weights=file, args=tuple((key, float(value)) for key, value in (each.split("=") for each in args)))


def bench_peer(results: Results, networks: Sequence[str], batch: int, seconds: float, limit: float) -> None:
    """PyTorch in a process of its own, which is ended after `limit` seconds; what it has measured until then counts."""
    command = [sys.executable, "-m", "scripts.bench_gpu_peer", "--batch", str(batch), "--seconds", str(seconds), "--networks", *networks]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    timer = threading.Timer(limit, process.kill)
    timer.start()
    assert process.stdout is not None
    for line in process.stdout:
        results.add("peer", json.loads(line))
    process.wait()
    timer.cancel()
    results.found["peer_exit_code"] = process.returncode


def bench(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    results = Results(args.out, args.minutes)
    for precision in args.precisions:
        results.found["peak_tflops"][precision] = peak(precision, args.gemm, args.seconds)
    results.write()
    backbones = {name: random_backbone(name, folder) for name in args.networks}
    cells = ordered(args.networks, args.batches, args.precisions)
    most_important = len(args.networks)
    bench_cells(results, cells[:most_important], backbones, args.jobs, args.seconds)
    if args.real:
        bench_cosines(results, args.real, read_pixels(args.images, 224, 64), args.precisions)
    for cell in [cell for cell in cells[:most_important] if cell.network in args.variants]:
        bench_variants(results, cell, backbones[cell.network], args.seconds)
    if args.peer_seconds:
        bench_peer(results, args.networks, cells[0].batch, args.seconds, min(args.peer_seconds, results.seconds_left))
    bench_cells(results, cells[most_important:], backbones, args.jobs, args.seconds)
    results.write()
    return results.found


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["resnet50", "efficientnet_b0", "convnext_tiny", "vit_b16"])
    parser.add_argument("--batches", nargs="+", type=at_least(1), default=[512, 256, 128, 32])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--real", action="append", default=[], help='"NAME [alpha=0.35] FILE": a network with real weights')
    parser.add_argument("--images", type=folder_of_jpegs, help="folder of JPEGs for --real")
    parser.add_argument("--variants", nargs="*", default=[], help="networks to measure in other ways than the engine's too")
    parser.add_argument("--minutes", type=above_zero, default=6)
    parser.add_argument("--seconds", type=above_zero, default=1.0, help="a measurement")
    parser.add_argument("--jobs", type=at_least(1), default=4, help="cells that are compiled at once")
    parser.add_argument("--gemm", type=at_least(1), default=GEMM, help="rows and columns of the matrices that tell the peak")
    parser.add_argument("--peer-seconds", type=float, default=0, help="for PyTorch; 0: without it")
    parser.add_argument("--out", type=new_file, help="JSON file")
    args = parser.parse_args()
    if args.real and not args.images:
        parser.error("--real needs --images FOLDER, whose images both machines embed")
    if keras.backend.backend() != "jax":
        parser.error(f"Keras computes on {keras.backend.backend()} here: set KERAS_BACKEND=jax")
    if jax.default_backend() != "gpu":
        parser.error(f"JAX finds no GPU here, only {jax.default_backend()}: expected one, and its extra (such as jax[cuda13])")
    with tempfile.TemporaryDirectory() as folder:
        print(table(bench(args, Path(folder))))


if __name__ == "__main__":
    main()
