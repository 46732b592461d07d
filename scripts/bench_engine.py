"""Engines on a CPU: images/s of each in each precision, `model.predict` being 1, and how far embeddings move, as JSON and a table.

    python -m scripts.bench_engine --backbone resnet50 --rounds 7 --out engine.json
        --weights FILE --images FOLDER

Uint8 batches lie ready in memory; embeddings are fetched. In each round every way embeds the same four batches, in an order of ways that is
drawn anew, so that what else the machine does, and what the way before left in its caches, hits all alike; medians are told, by the clock
and by CPU seconds. `by hand` is the engine's own graph called batch by batch without the engine around it. `openvino alone` is the plain
model in OpenVINO's own queue, on images that are preprocessed already. `products alone` is what the CPU's matrix products allow
(`scripts.gemm_limit`). An engine whose library is not installed is left out, and said so. The JAX engine is `bench_gpu`'s.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pyarrow  # noqa: F401 - before TensorFlow

from extractor.backbone_source import RANDOM
from extractor.backbones import Backbone, build
from extractor.device import prepare_process, usable_cores
from extractor.engine import BatchEngine
from extractor.engine_choice import INT8, EngineChoice, is_installed
from extractor.make_engine import make_engine
from extractor.recipe import MIN_INPUT_SIZE, Recipe
from scripts.bench_options import at_least, folder_of_jpegs, mistakes_told, new_file
from scripts.corpus_pixels import read_pixels
from scripts.gemm_limit import gemm_limits
from scripts.interleaved import measured
from storage.golden import cosines

PREDICT = "model.predict"
BATCHES = 4  # a way and round: engines work on one while the next is given to them
PRECISIONS = {"tensorflow": ("float32", "bfloat16"), "xla": ("float32", "bfloat16"), "openvino": ("float32", "bfloat16", "int8")}
Images = npt.NDArray[np.uint8]


def engine_of(name: str, backbone: Backbone, images: Images) -> BatchEngine:
    """For batches of so many images; int8 is calibrated on them."""
    choice = EngineChoice(name, len(images))
    if backbone.recipe.precision == INT8:
        from extractor.openvino_engine import OpenVinoEngine

        choice = replace(choice, quantized=OpenVinoEngine(backbone, len(images)).quantized(images, ()))
    return make_engine(choice, [backbone], usable_cores())


def bench(recipe: Recipe, engines: Sequence[str], images: Images, rounds: int) -> dict[str, Any]:
    backbone = build(recipe)
    made = {}
    for name in engines:
        for precision in PRECISIONS[name]:
            under = replace(backbone, recipe=replace(backbone.recipe, precision=precision))
            made[f"{name} {precision}"] = engine_of(name, under, images)
    ways = ways_of(backbone, made, images)
    expected = made[f"{engines[0]} float32"](images)
    moved = {name: cosines(expected, engine(images)) for name, engine in made.items()}
    clock, cpu = measured(ways, rounds)
    embedded = BATCHES * len(images)
    rows = [
        {
            "way": name,
            "images_per_second": embedded / clock[name],
            "images_per_cpu_second": embedded / cpu[name],
            "ratio": clock[PREDICT] / clock[name],
            "cpu_ratio": cpu[PREDICT] / cpu[name],
            **({"cosine_least": float(moved[name].min()), "cosine_median": float(np.median(moved[name]))} if name in moved else {}),
        }
        for name in ways
    ]
    about = {
        "backbone": recipe.name,
        "random_weights": recipe.weights.startswith(RANDOM),
        "batch": len(images),
        "rounds": rounds,
        "cores": usable_cores(),
    }
    return about | {"gemm": gemm_limits(backbone.model, backbone.recipe.input_size), "ways": rows}


def ways_of(backbone: Backbone, made: Mapping[str, BatchEngine], images: Images) -> dict[str, Callable[[], Any]]:
    batches = [images] * BATCHES
    all_images = np.concatenate(batches)
    ways: dict[str, Callable[[], Any]] = {
        PREDICT: lambda: backbone.model.predict(preprocessed(all_images, backbone), len(images), verbose=0)
    }
    for name, engine in made.items():
        ways[name] = lambda engine=engine: engine(all_images)  # type: ignore[misc]
        ways[f"{name} by hand"] = lambda engine=engine: np.concatenate([engine.finish(engine.start(batch))[0] for batch in batches])  # type: ignore[misc]
    if any(name.startswith("openvino") for name in made):
        from scripts.openvino_alone import HINTS, openvino_alone

        ready = preprocessed(images, backbone)
        for precision in HINTS:
            alone = openvino_alone(backbone.model, ready.shape, precision)
            ways[f"openvino alone, {precision}"] = lambda alone=alone: alone([ready] * BATCHES)  # type: ignore[misc]
    return ways


def preprocessed(images: Images, backbone: Backbone) -> npt.NDArray[np.float32]:
    mode = backbone.recipe.preprocessing
    pixels = images.astype(np.float32)
    return pixels if mode == "none" else np.asarray(keras.applications.imagenet_utils.preprocess_input(pixels, mode=mode))


def table(found: dict[str, Any]) -> str:
    lines = [f"{found['backbone']}, batches of {found['batch']}, {found['cores']} cores, medians of {found['rounds']} rounds"]
    lines.append(f"{'':28} {'images/s':>9} {'ratio':>6} {'a CPU s':>9} {'ratio':>6}   cosine to float32: least, median")
    for row in found["ways"]:
        numbers = f"{row['images_per_second']:9.1f} {row['ratio']:6.2f} {row['images_per_cpu_second']:9.1f} {row['cpu_ratio']:6.2f}"
        moved = f"   {row['cosine_least']:.5f} {row['cosine_median']:.5f}" if "cosine_least" in row else ""
        lines.append(f"{row['way']:28} {numbers}{moved}")
    if found["random_weights"] and any("int8" in row["way"] for row in found["ways"]):
        lines.append("int8 of random weights says nothing of a trained network: for its cosine pass --weights FILE and --images FOLDER")
    for precision, allowed in found["gemm"]["images_per_second"].items():
        rate = f"{found['gemm']['gflop_an_image']:.2f} GFLOP an image, {found['gemm']['gflops'][precision]:.0f} GFLOP/s"
        lines.append(f"{f'products alone, {precision}':28} {allowed:9.1f}   {rate}")
    return "\n".join(lines)


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--weights", default="random:0")
    parser.add_argument("--input-size", type=at_least(MIN_INPUT_SIZE), default=0, help="pixels (default: the backbone's own)")
    parser.add_argument("--batch", type=at_least(1), default=32)
    parser.add_argument("--rounds", type=at_least(1), default=7)
    parser.add_argument("--engines", nargs="+", choices=sorted(PRECISIONS), default=["tensorflow", "openvino"])
    parser.add_argument("--images", type=folder_of_jpegs, help="folder of JPEGs; random pixels without it")
    parser.add_argument("--out", type=new_file, help="JSON file")
    args = parser.parse_args()
    recipe = Recipe(args.backbone, weights=args.weights, input_size=args.input_size)
    there = [name for name in args.engines if is_installed(name)]
    for name in sorted(set(args.engines) - set(there)):
        print(f"{name} is not installed: pip install permafrost[{name}]", file=sys.stderr)
    if not there:
        parser.error(f"none of --engines {' '.join(args.engines)} is installed")
    size = recipe.input_size
    images = read_pixels(args.images, size, args.batch) if args.images else random_pixels(args.batch, size)
    if len(images) < args.batch:
        parser.error(f"--images {args.images} has {len(images)} JPEGs, and --batch is {args.batch}: expected as many at least")
    if "openvino" in there and len(images) % min(usable_cores(), len(images)):
        parser.error(f"--batch {args.batch}: expected a multiple of the {usable_cores()} cores, which share OpenVINO's batches")
    prepare_process(usable_cores(), use_gpus=False)
    found = bench(recipe, there, images, args.rounds)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1))
    print(table(found))


def random_pixels(n: int, size: int) -> Images:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), np.uint8)


if __name__ == "__main__":
    main()
