"""From JPEGs to 224 pixels: `image-v1` as the pipeline decodes it, beside other ways, as JSON and a table.

    python -m scripts.bench_decode --rounds 7 --out decode.json
        --images images.tar      photographs instead of made images; enlarged or reduced to the sizes measured, with some grain

Small images of 500x375 and large ones of six megapixels (3000x2000), all different, 4:2:0, quality 90. In each round every way takes all
images, one way after the other, so that what else the machine does hits all alike; medians are told, by the clock and by CPU seconds.
All ways decode on as many threads as there are cores. `pipeline` is the whole of it: files are read, hashed and claimed, and batches of
32 come out. The ways of the other libraries begin with bytes in memory and end with images. Ratios are to TensorFlow's full decode.
The last column is the largest and mean difference to `image-v1` in grey levels. A library that is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow  # noqa: F401 - before TensorFlow
import tensorflow as tf
from PIL import Image

from extractor.decode_stream import DecodeStream
from extractor.device import prepare_process, usable_cores
from extractor.image_policy import decode, read_header
from extractor.input_kind import InputKind
from extractor.jpeg_in_graph import resize
from extractor.limits import MAX_PIXELS
from extractor.pipeline import DecodePipeline
from extractor.views import PLAIN
from scripts.bench_options import at_least, mistakes_told, new_file, tar_file
from scripts.interleaved import measured

SIZE, BATCH = 224, 32
SIZES = {"small": (500, 375), "large": (3000, 2000)}
PIPELINE, FULL = "image-v1, pipeline", "TensorFlow, full decode"
GRAIN = 4.0  # standard deviation, grey levels: an enlarged photograph would be smoother than one that was taken at six megapixels
Pixels = npt.NDArray[np.uint8]
Way = Callable[[], None]


def made_images(n: int, width: int, height: int, photographs: Sequence[Image.Image]) -> list[bytes]:
    """JPEGs, all different: photographs, or else noise whose amplitude falls with its frequency, as in photographs."""
    chance = np.random.default_rng(0)
    return [_encoded(_pixels(i, width, height, photographs, chance), chance) for i in range(n)]


def _pixels(i: int, width: int, height: int, photographs: Sequence[Image.Image], chance: np.random.Generator) -> npt.NDArray[np.float32]:
    if photographs:
        return np.asarray(photographs[i % len(photographs)].resize((width, height), Image.Resampling.BICUBIC), np.float32)
    pixels = np.full((height, width, 3), 128, np.float32)
    for octave in range(2, 9):
        coarse = Image.fromarray(chance.integers(0, 256, (2**octave, 2**octave, 3), np.uint8))
        pixels += (np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32) - 128) * (1.5 / octave**1.5)
    return pixels


def _encoded(pixels: npt.NDArray[np.float32], chance: np.random.Generator) -> bytes:
    grain = chance.normal(0, GRAIN, pixels.shape).astype(np.float32)
    file = io.BytesIO()
    Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def photographs_in(tar: Path, n: int) -> list[Image.Image]:
    with tarfile.open(tar) as members:
        files = (members.extractfile(member) for member in members if member.name.lower().endswith((".jpg", ".jpeg")))
        return [Image.open(file).convert("RGB") for _, file in zip(range(n), files, strict=False) if file]


def bench(encoded: Sequence[bytes], folder: Path, rounds: int, threads: int) -> dict[str, Any]:
    paths = []
    for i, data in enumerate(encoded):
        paths.append(folder / f"{i}.jpg")
        paths[-1].write_bytes(data)
    header = read_header(encoded[0], SIZE)
    each = ways_of_one(header.dct)
    stream = DecodeStream([InputKind(SIZE)], BATCH, threads, MAX_PIXELS)  # a worker has one for all its units
    ways: dict[str, Way] = {PIPELINE: lambda: _through_pipeline(paths, threads, stream)}
    for name, (one, in_graph) in each.items():
        ways[name] = _in_tf_data(one, encoded, threads) if in_graph else _in_threads(one, encoded, threads)
    clock, cpu = measured(ways, rounds)
    sample = encoded[: min(len(encoded), 8)]
    n = len(encoded)
    rows = [
        {
            "way": name,
            "images_per_second": n / clock[name],
            "cpu_ms_per_image": 1e3 * cpu[name] / n,
            "ratio": clock[FULL] / clock[name],
            "cpu_ratio": cpu[FULL] / cpu[name],
            **(_difference(each[name][0], sample) if name in each and _makes_images(name) else {}),
        }
        for name in ways
    ]
    return {"bytes": sum(map(len, encoded)) // n, "images": n, "dct": f"1/{1 << header.dct}", "ways": rows}


def ways_of_one(dct: int) -> dict[str, tuple[Callable[[Any], Any], bool]]:
    """From one encoded image to its pixels, and whether it is a graph for tf.data. `decode only` ends before resizing."""

    def tensorflow(ratio: int) -> Callable[[tf.Tensor], tf.Tensor]:
        return lambda encoded: tf.io.decode_jpeg(encoded, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    def plainly_resized(image: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.floor(tf.image.resize(image, (SIZE, SIZE), antialias=True) + 0.5), tf.uint8)

    scaled, full = tensorflow(1 << dct), tensorflow(1)
    ways: dict[str, tuple[Callable[[Any], Any], bool]] = {
        "image-v1, in tf.data": (lambda encoded: resize(scaled(encoded), SIZE, antialias=True), True),
        FULL: (lambda encoded: plainly_resized(full(encoded)), True),
        "TensorFlow, decode only": (lambda encoded: scaled(encoded)[:1, :1], True),
        "Pillow": (lambda encoded: _by_pillow(encoded, 0), False),
    }
    if dct:
        ways["TensorFlow, scaled"] = (lambda encoded: plainly_resized(scaled(encoded)), True)
        ways["Pillow, draft"] = (lambda encoded: _by_pillow(encoded, dct), False)
    if importlib.util.find_spec("simplejpeg"):
        ways["simplejpeg and Pillow"] = (lambda encoded: _small(Image.fromarray(_by_simplejpeg(encoded, dct))), False)
        ways["simplejpeg, decode only"] = (lambda encoded: _by_simplejpeg(encoded, dct), False)
    else:
        print("simplejpeg is not installed: pip install simplejpeg", file=sys.stderr)
    return ways


def _by_pillow(encoded: bytes, dct: int) -> Pixels:
    image = Image.open(io.BytesIO(encoded))
    if dct:
        image.draft(None, (image.width >> dct, image.height >> dct))
    return _small(image)


def _small(image: Image.Image) -> Pixels:
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def _by_simplejpeg(encoded: bytes, dct: int) -> Pixels:
    import simplejpeg

    height, width, *_ = simplejpeg.decode_jpeg_header(encoded)
    pixels: Pixels = simplejpeg.decode_jpeg(encoded, "RGB", min_height=height >> dct, min_width=width >> dct)
    return pixels


def _through_pipeline(paths: Sequence[Path], threads: int, stream: DecodeStream) -> None:
    locations, kinds = [str(path) for path in paths], [InputKind(SIZE)]
    _exhaust(DecodePipeline(locations, lambda digests: [1] * len(digests), kinds, BATCH, threads, stream=stream).batches())


def _in_tf_data(one: Callable[[tf.Tensor], tf.Tensor], encoded: Sequence[bytes], threads: int) -> Way:
    graph = tf.autograph.experimental.do_not_convert(one)
    stream = tf.data.Dataset.from_tensor_slices(list(encoded)).map(graph, num_parallel_calls=threads).batch(BATCH).prefetch(2)
    return lambda: _exhaust(stream)  # traced once: that takes as long as some large images


def _in_threads(one: Callable[[bytes], Pixels], encoded: Sequence[bytes], threads: int) -> Way:
    pool = ThreadPoolExecutor(threads)
    return lambda: _exhaust(pool.map(one, encoded))


def _exhaust(images: Iterable[Any]) -> None:
    for _ in images:
        pass


def _makes_images(name: str) -> bool:
    return not name.endswith("only")


def _difference(one: Callable[[Any], Any], sample: Sequence[bytes]) -> dict[str, float]:
    moved = [np.abs(np.asarray(one(data), np.int16) - decode(data, SIZE, views=PLAIN)[0]) for data in sample]
    return {"largest_difference": int(max(of_one.max() for of_one in moved)), "mean_difference": float(np.mean(moved))}


def table(found: dict[str, Any]) -> Iterator[str]:
    yield f"{SIZE} pixels, {found['cores']} cores, medians of {found['rounds']} rounds"
    for kind, of_kind in found["sizes"].items():
        width, height = SIZES[kind]
        yield f"\n{of_kind['images']} images of {width}x{height}, {of_kind['bytes'] / 1024:.0f} KiB, DCT scale {of_kind['dct']}"
        yield f"{'':28} {'images/s':>9} {'ratio':>6} {'CPU ms':>7} {'ratio':>6}   difference: largest, mean"
        for row in of_kind["ways"]:
            numbers = f"{row['images_per_second']:9.1f} {row['ratio']:6.2f} {row['cpu_ms_per_image']:7.2f} {row['cpu_ratio']:6.2f}"
            moved = f"   {row['largest_difference']} {row['mean_difference']:.3f}" if "mean_difference" in row else ""
            yield f"{row['way']:28} {numbers}{moved}"


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=at_least(1), default=300, help="images of 500x375 (default 300)")
    parser.add_argument("--large", type=at_least(1), default=48, help="images of 3000x2000 (default 48)")
    parser.add_argument("--rounds", type=at_least(1), default=7)
    parser.add_argument("--images", type=tar_file, help="tar of photographs; made images without it")
    parser.add_argument("--out", type=new_file, help="JSON file")
    args = parser.parse_args()
    prepare_process(usable_cores(), use_gpus=False)
    photographs = photographs_in(args.images, max(args.small, args.large)) if args.images else []
    if args.images and not photographs:
        parser.error(f"--images {args.images}: expected a tar of photographs; it has no .jpg or .jpeg")
    found: dict[str, Any] = {"cores": usable_cores(), "rounds": args.rounds, "sizes": {}}
    for kind, n in (("small", args.small), ("large", args.large)):
        with tempfile.TemporaryDirectory() as folder:
            images = made_images(n, *SIZES[kind], photographs)
            found["sizes"][kind] = bench(images, Path(folder), args.rounds, usable_cores())
    if args.out:
        args.out.write_text(json.dumps(found, indent=1))
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
