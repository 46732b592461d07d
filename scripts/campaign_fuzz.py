"""Extracts damaged images among good ones, and checks that none is lost, none harms another, and memory stays within its bound.

python -m scripts.campaign_fuzz                               the full campaign: the bombs, then 5000 mutated files
python -m scripts.campaign_fuzz --files 500 --seed 7 --also FOLDER --json FILE
python -m scripts.campaign_fuzz --seed 7 --first 1200 --files 100      that part of a campaign again, file by file the same
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import storage
from extractor.chunks import CHUNK_BYTES
from extractor.limits import ALONE_PIXELS, MAX_FILE_BYTES, MAX_PIXELS
from extractor.reasons import REASONS
from scripts import bombs
from storage.golden import cosines

BATCH = 500  # mutated files an extraction
GOOD_EVERY = 5  # one good neighbour for so many damaged files
GOOD = 40  # different ones
SECONDS_A_FILE, SECONDS_TO_START = 1.0, 180.0  # of the time limit; the usual file takes milliseconds
SECONDS_OF_BOMBS = 600.0
_MIB = 1 << 20


@dataclass
class Outcome:
    """One extraction: what became of the damaged files, and what was wrong with that."""

    name: str
    files: int
    rows: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    peak_mib: int = 0  # growth of resident memory while extracting
    problems: list[str] = field(default_factory=list)


def memory_bound() -> int:
    """MiB that images may cost the extracting process: one large one, one other a decoding thread, and what is read ahead.

    Pixels are there at most four times, in 4 bytes (WebP with alpha); encoded bytes three times, in TensorFlow, Python and the decoder.
    """
    encoded, large, other = (n // _MIB for n in (MAX_FILE_BYTES, 16 * MAX_PIXELS, 16 * ALONE_PIXELS))
    read_ahead = 2 * ((CHUNK_BYTES >> 20) + encoded)
    return large + 3 * encoded + (other + 3 * encoded) * (os.cpu_count() or 1) + read_ahead


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000, help="mutated files (default 5000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (default 0, which starts with the bombs)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--also", metavar="FOLDER", help="mutate the files of this folder as well, and extract them as they are")
    parser.add_argument("--json", metavar="FILE", help="write all outcomes there")
    args = parser.parse_args(arguments)
    further = {path.name: path.read_bytes() for path in sorted(Path(args.also).iterdir())} if args.also else {}
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="permafrost-fuzz-") as folder:
        if not args.first:
            bombs_and_more = {**further, **{name: make() for name, make in bombs.BOMBS.items()}}
            outcomes.append(_told(one("bombs", bombs_and_more, Path(folder) / "bombs", SECONDS_OF_BOMBS)))
        seeds = {**seed_images(), **further}
        for start in range(args.first, args.first + args.files, BATCH):
            numbers = range(start, min(start + BATCH, args.first + args.files))
            files = dict(mutated(number, args.seed, seeds) for number in numbers)
            outcomes.append(_told(one(f"files from {start}", files, Path(folder) / str(start))))
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    bad = sum(bool(outcome.problems) for outcome in outcomes)
    reasons = sum((Counter(outcome.reasons) for outcome in outcomes), Counter[str]())
    print(f"{sum(outcome.files for outcome in outcomes)} files: {sum(outcome.rows for outcome in outcomes)} rows, {dict(reasons)}")
    print(f"peak {max(outcome.peak_mib for outcome in outcomes)} MiB (bound {memory_bound()}), {bad} of {len(outcomes)} runs with problems")
    return 1 if bad else 0


def _told(outcome: Outcome) -> Outcome:
    say = "; ".join(outcome.problems) or "good"
    print(f"{outcome.name}: {outcome.rows} rows, {outcome.reasons}, {outcome.seconds:.0f} s, {outcome.peak_mib} MiB: {say}", flush=True)
    return outcome


# Files


def seed_images() -> dict[str, bytes]:
    """Small images of every format and mode, by name."""
    random_pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    photo = Image.fromarray(random_pixels).resize((120, 90), Image.Resampling.BICUBIC)
    found: dict[str, bytes] = {}
    variants: list[tuple[str, str, dict[str, Any]]] = [
        *[("RGB", kind, {}) for kind in ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "ICO", "AVIF")],
        *[("L", kind, {}) for kind in ("JPEG", "PNG", "GIF", "BMP")],
        *[("RGBA", kind, {}) for kind in ("PNG", "WEBP", "TIFF")],
        *[("P", kind, {"transparency": 3}) for kind in ("PNG", "GIF")],
        *[("CMYK", kind, {}) for kind in ("JPEG", "TIFF")],
        ("1", "TIFF", {"compression": "group4"}),
        ("RGB", "JPEG", {"progressive": True}),
        ("RGB", "TIFF", {"compression": "tiff_lzw"}),
        ("RGB", "TIFF", {"compression": "jpeg"}),
        ("RGB", "WEBP", {"lossless": True}),
        *[("RGB", kind, {"save_all": True}) for kind in ("GIF", "WEBP", "PNG", "MPO", "TIFF")],
    ]
    for mode, kind, options in variants:
        buffer = io.BytesIO()
        frames = {"append_images": [photo.rotate(5), photo.rotate(10)]} if "save_all" in options else {}
        photo.convert(mode).save(buffer, kind, **options, **frames)
        found[f"{len(found):02d}-{mode}.{kind.lower()}"] = buffer.getvalue()
    tile = np.asarray(photo.resize((64, 64))).tobytes()
    return {**found, "jpeg-xl.jpg": bombs.JXL, "tiled.tiff": bombs.tiff(60, 60, (64, 64), tile, compression=1)}


def mutated(number: int, seed: int, seeds: Mapping[str, bytes]) -> tuple[str, bytes]:
    """(name, bytes) of one damaged file: the same for the same number, seed and seeds."""
    chance = random.Random(f"{seed}-{number}")
    name = chance.choice(sorted(seeds))
    data = bytearray(seeds[name])
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        chance.choice(MUTATIONS)(data, chance, seeds)
    return f"{number:06d}{Path(name).suffix}", bytes(data)


def _flip_bits(data: bytearray, chance: random.Random, _: Mapping[str, bytes]) -> None:
    for _flip in range(chance.choice((1, 2, 8, 64))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _flip_in_header(data: bytearray, chance: random.Random, _: Mapping[str, bytes]) -> None:
    if data:
        data[chance.randrange(min(len(data), 200))] = chance.randrange(256)


def _cut_off(data: bytearray, chance: random.Random, _: Mapping[str, bytes]) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _cut_out(data: bytearray, chance: random.Random, _: Mapping[str, bytes]) -> None:
    start, end = _slice(data, chance)
    del data[start:end]


def _repeat(data: bytearray, chance: random.Random, _: Mapping[str, bytes]) -> None:
    start, end = _slice(data, chance)
    data[end:end] = data[start:end] * chance.choice((1, 2, 100))


def _splice(data: bytearray, chance: random.Random, seeds: Mapping[str, bytes]) -> None:
    """The beginning of one file, the end of another."""
    other = seeds[chance.choice(sorted(seeds))]
    del data[chance.randrange(len(data) + 1) :]
    data += other[chance.randrange(len(other) + 1) :]


def _lie_of_a_length(data: bytearray, chance: random.Random, _: Mapping[str, bytes]) -> None:
    width = chance.choice((2, 4))
    if len(data) > width:
        at = chance.randrange(min(len(data) - width, chance.choice((64, 1024, 1 << 30))))
        value = chance.choice((0, 1, 255, 4096, 40_000, (1 << 8 * width - 1) - 1, (1 << 8 * width) - 1)) & ((1 << 8 * width) - 1)
        data[at : at + width] = value.to_bytes(width, chance.choice(("big", "little")))


def _overwrite(data: bytearray, chance: random.Random, _: Mapping[str, bytes]) -> None:
    start, end = _slice(data, chance)
    data[start:end] = bytes(end - start) if chance.random() < 0.5 else chance.randbytes(end - start)


def _slice(data: bytearray, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.choice((1, 4, 12, 100, 1000)))


MUTATIONS = (_flip_bits, _flip_in_header, _cut_off, _cut_out, _repeat, _splice, _lie_of_a_length, _overwrite)


def good_images() -> dict[str, bytes]:
    found = {}
    for number in range(GOOD):
        kind = ("JPEG", "PNG", "WEBP")[number % 3]
        pixels = np.random.default_rng(1000 + number).integers(0, 256, (40, 40, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        found[f"{number:02d}.{kind.lower()}"] = buffer.getvalue()
    return found


# One extraction


def one(name: str, files: Mapping[str, bytes], folder: Path, more_seconds: float = 0.0) -> Outcome:
    """Extract files among good ones in a process of its own, and look at what the version holds."""
    outcome = Outcome(name, len(files))
    neighbours = write_corpora(files, folder)
    started = time.monotonic()
    command = [sys.executable, "-c", "import sys; from scripts.campaign_fuzz import extract_there; extract_there(sys.argv[1])", str(folder)]
    try:
        limit = SECONDS_TO_START + more_seconds + SECONDS_A_FILE * len(files)
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        outcome.problems.append(f"still at work after {limit:.0f} s")
        return outcome
    outcome.seconds = time.monotonic() - started
    if done.returncode:
        outcome.problems.append(f"exit code {done.returncode}: {done.stderr.strip()[-500:]}")
        return outcome
    outcome.peak_mib = json.loads(done.stdout)["peak_mib"]
    outcome.problems += wrong_with(folder, set(files), neighbours, outcome)
    return outcome


def write_corpora(files: Mapping[str, bytes], folder: Path) -> dict[str, str]:
    """`alone`: the good images; `mixed`: the files, and between them good ones again. Returns key in mixed -> key in alone."""
    good = good_images()
    for part in ("alone", "mixed"):
        (folder / part).mkdir(parents=True)
    for key, data in good.items():
        (folder / "alone" / key).write_bytes(data)
    neighbours = {}
    for number, (key, data) in enumerate(sorted(files.items())):
        (folder / "mixed" / key).write_bytes(data)
        if number % GOOD_EVERY == 0:
            source = sorted(good)[number // GOOD_EVERY % GOOD]
            beside = f"{key}-good.{source}"
            (folder / "mixed" / beside).write_bytes(good[source])
            neighbours[beside] = source
    return neighbours


def extract_there(folder: str) -> None:
    """In the child: the good images, which also warms up; then the mixture, with the growth of resident memory printed as JSON."""
    from scripts.console import import_tensorflow

    import_tensorflow()
    from extractor import ExtractOptions, Recipe, extract

    options = ExtractOptions(
        Recipe("mobilenet", "random:1", input_size=32, dtype="float32", args=(("alpha", 0.25),), layer="conv_pw_2_relu"),
        local=True,
        max_rejects=1.0,
    )
    extract(f"{folder}/alone", f"{folder}/store-alone/team/photos", options)
    before = _memory_kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark is that of now
    extract(f"{folder}/mixed", f"{folder}/store-mixed/team/photos", options)
    print(json.dumps({"peak_mib": (_memory_kib("VmHWM") - before) >> 10}))


def _memory_kib(name: str) -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))


def wrong_with(folder: Path, files: set[str], neighbours: Mapping[str, str], outcome: Outcome) -> list[str]:
    """What the two versions show to be wrong; enters rows and reasons of the damaged files into the outcome."""
    alone, mixed = (storage.open(f"{folder}/store-{part}/team/photos") for part in ("alone", "mixed"))
    keys, embeddings = mixed.to_numpy()
    place = {key: i for i, key in enumerate(keys)}
    rejects = dict(zip(mixed.rejects["key"].to_pylist(), mixed.rejects["reason"].to_pylist(), strict=True))
    outcome.rows = len(files & place.keys())
    outcome.reasons = dict(Counter(rejects[key] for key in sorted(files & rejects.keys())))
    problems = []
    if lost := (files | neighbours.keys()) - place.keys() - rejects.keys():
        problems.append(f"{len(lost)} files are neither row nor reject, such as {min(lost)}")
    if unknown := set(rejects.values()) - REASONS.keys():
        problems.append(f"unknown reasons: {', '.join(sorted(unknown))}")
    if harmed := sorted(neighbours.keys() - place.keys()):
        return [*problems, f"{len(harmed)} good neighbours have no row, such as {harmed[0]}"]
    good_keys, good_embeddings = alone.to_numpy()
    expected = good_embeddings[[good_keys.index(key) for key in neighbours.values()]]
    if neighbours and not cosines(embeddings[[place[key] for key in neighbours]], expected).min() >= 0.99999:
        problems.append("good neighbours have other embeddings than alone")
    if outcome.peak_mib > memory_bound():
        problems.append(f"{outcome.peak_mib} MiB, the bound is {memory_bound()}")
    return problems


if __name__ == "__main__":
    sys.exit(main())
