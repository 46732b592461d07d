"""Decode helpers: a node whose one core cannot keep its engine busy, alone and with a node that decodes for it, as JSON and a table.

    python -m scripts.bench_decode_helpers --images 1024 --rounds 5 --out helpers.json

Two hosts with addresses of their own (`scripts/net_cluster.py`: Linux, root, two cores), each kept to one core of this machine. The first
one has a made-up GPU: its engine is a network of one small convolution, so that decoding binds. In each round `permafrost extract` runs
without and with `--decode-helpers 1`, one after the other, into new stores. Rates are those of the work, without starting and listing.
CPU seconds are those of all processes of a host while the run was under way; what a host needs for starting TensorFlow is in them, and
`idle` says how much: the same for one image. The features of both ways are compared, bit by bit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import storage
from scripts.bench_decode import made_images
from scripts.bench_options import at_least, mistakes_told, new_file
from scripts.net_cluster import NetCluster, possible
from scripts.tree_cpu import SAMPLE_SECONDS, TreeCpu

WAYS = {"alone": 0, "with a helper": 1}
DRAWN = 32  # images; the others are these with a comment, as drawing takes ten times as long as decoding
WIDTH, HEIGHT = 1200, 900  # decoded at half size for 224 pixels


def bench(folder: Path, images: int, rounds: int) -> dict[str, Any]:
    corpora = {"few": folder / "few", "all": folder / "all"}
    drawn = made_images(min(images, DRAWN), WIDTH, HEIGHT, [])
    for i in range(images):
        for name in ("few", "all") if i == 0 else ("all",):
            corpora[name].mkdir(exist_ok=True)
            (corpora[name] / f"{i:05d}.jpg").write_bytes(_commented(drawn[i % DRAWN], i))
    _write_network(folder / "tiny.keras")
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with NetCluster(folder / "ray", hosts=2, gpus=(1, 0), cores=(0, 1)) as cluster:
        idle = {way: _run(cluster, folder, corpora["few"], f"idle{number}", number) for way, number in WAYS.items()}
        for round_number in range(rounds):
            for way, helpers in WAYS.items():
                print(f"round {round_number + 1} of {rounds}: {way}", file=sys.stderr)
                found[way].append(_run(cluster, folder, corpora["all"], f"r{round_number}h{helpers}", helpers))
    same = _features(folder / "r0h0/t/s") == _features(folder / "r0h1/t/s")
    return {
        "images": images,
        "rounds": rounds,
        "load": os.getloadavg()[0],
        "same_features": same,
        "idle_cpu_seconds": {way: each["cpu_seconds"] for way, each in idle.items()},
        "ways": {way: _medians(runs) for way, runs in found.items()},
        "ratio": statistics.median(
            helped["images_per_second"] / alone["images_per_second"] for alone, helped in zip(*found.values(), strict=True)
        ),
        "runs": found,
    }


def _run(cluster: NetCluster, folder: Path, corpus: Path, name: str, helpers: int) -> dict[str, Any]:
    words = ["extract", str(corpus), str(folder / name / "t/s"), "--backbone", str(folder / "tiny.keras"), "--preprocessing", "none"]
    words += ["--ray", cluster.address, "--dtype", "float32", "--decode-helpers", str(helpers), "--json"]
    hosts = [_HostCpu(cluster, number) for number in range(len(cluster.addresses))]
    time.sleep(1.5 * SAMPLE_SECONDS)
    began = time.monotonic()  # what the raylets did before does not count
    command = cluster.command(sys.executable, "-m", "scripts.cli", *words)
    done = subprocess.run(command, env=cluster.environment, stdout=subprocess.PIPE, check=True, text=True)
    time.sleep(1.5 * SAMPLE_SECONDS)
    for host in hosts:
        host.stop()
    result = json.loads(done.stdout)
    report = json.loads(Path(result["report"]).with_name("report.json").read_text())
    return {
        "images_per_second": result["images_per_second"],
        "helped": result["helped"],
        "cpu_seconds": [host.between(began, time.monotonic()) for host in hosts],
        "bottleneck": report["bottleneck"]["words"],
        "stage_seconds": result["stage_seconds"],
    }


def _commented(encoded: bytes, number: int) -> bytes:
    """Another JPEG of the same pixels: what SOI begins goes on with a comment."""
    return encoded[:2] + b"\xff\xfe\x00\x06" + f"{number:04d}".encode() + encoded[2:]


class _HostCpu(TreeCpu):
    def __init__(self, cluster: NetCluster, number: int) -> None:
        self._cluster, self._number = cluster, number
        super().__init__(0)

    def processes(self) -> list[int]:
        return self._cluster.processes(self._number)


def _write_network(path: Path) -> None:
    """In a process of its own, which may have TensorFlow."""
    code = (
        "import keras, sys; x = keras.Input((224, 224, 3)); "
        "y = keras.layers.Conv2D(32, 32, strides=32, kernel_initializer=keras.initializers.GlorotUniform(0))(x); "
        "keras.Model(x, keras.layers.ReLU()(y)).save(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, stderr=subprocess.DEVNULL)


def _features(uri: Path) -> dict[str, bytes]:
    keys, embeddings = storage.open(str(uri)).to_numpy()
    return {key: row.tobytes() for key, row in zip(keys, embeddings, strict=True)}


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "images_per_second": statistics.median(run["images_per_second"] for run in runs),
        "helped": statistics.median(run["helped"] for run in runs),
        "cpu_seconds": [statistics.median(of_host) for of_host in zip(*(run["cpu_seconds"] for run in runs), strict=True)],
        "bottleneck": runs[0]["bottleneck"],
    }


def table(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{found['images']} images of {WIDTH}x{HEIGHT}, medians of {found['rounds']} rounds, load {found['load']:.1f}"
    yield f"{'':16} {'images/s':>9} {'by helpers':>11} {'CPU seconds of each host':>25} {'for one image':>15}"
    for way, row in found["ways"].items():
        cpu = " ".join(f"{seconds:6.1f}" for seconds in row["cpu_seconds"])
        idle = " ".join(f"{seconds:6.1f}" for seconds in found["idle_cpu_seconds"][way])
        yield f"{way:16} {row['images_per_second']:9.1f} {row['helped']:11.0f} {cpu:>25} {idle:>15}"
    for way, row in found["ways"].items():
        yield f"{way}: {row['bottleneck']}"
    yield f"ratio {found['ratio']:.2f}; the features are {'equal, bit by bit' if found['same_features'] else 'NOT EQUAL'}"


@mistakes_told()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=at_least(1), default=1024)
    parser.add_argument("--rounds", type=at_least(1), default=5)
    parser.add_argument("--out", type=new_file, help="JSON file")
    args = parser.parse_args()
    if not possible():
        parser.error("network namespaces cannot be made here: expected Linux, root and iproute2")
    with tempfile.TemporaryDirectory(prefix="pf-") as folder:
        found = bench(Path(folder), args.images, args.rounds)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1))
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
