"""The quickstart's tour: every step is a `permafrost` command that a user would type, shown before it runs."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image
from sklearn.datasets import load_digits

from scripts.console import print_pairs, print_table
from scripts.environment import ROOT

BACKBONE, INPUT_SIZE = "mobilenet_v2", 96  # pixels: enough for digits of 8x8, and a fifth of the work of 224
IMAGE_SIZE = 64  # pixels of the written files: large enough to look at
NEW_IMAGES = 10  # kept out of the corpus, for the prediction
IMAGENET_SECONDS = 10.0
_FETCH = (
    "import keras; print('ready', flush=True); "
    f"keras.applications.MobileNetV2(weights='imagenet', include_top=False, input_shape=({INPUT_SIZE}, {INPUT_SIZE}, 3))"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/quickstart", description="Digits to predictions in a few minutes, offline if need be.")
    parser.add_argument("--weights", metavar="FILE", help="an .h5 file of MobileNetV2 weights without top (default: ImageNet, else random)")
    parser.add_argument("--dir", default=str(ROOT / "quickstart-run"), metavar="DIR", help="where to put everything")
    args = parser.parse_args()
    started = time.monotonic()
    folder = Path(args.dir).absolute()
    _say("1. A corpus: scikit-learn's handwritten digits, written as PNG files")
    corpus, new = write_digits(folder)
    _say("2. Weights for the frozen network")
    weights = str(Path(args.weights).absolute()) if args.weights else choose_weights()
    features = folder / "features" / "quickstart" / f"{BACKBONE}-{_name_of(weights)}"
    _say("3. Embed every image once, with Ray actors, into a feature set")
    # The features of a random network are around 1e-11, far below what float16 holds.
    dtype = ["--dtype", "float32"] if weights.startswith("random:") else []
    options = ["--backbone", BACKBONE, "--input-size", INPUT_SIZE, "--weights", weights, *dtype, "--workers", 2]
    extracted = _permafrost(folder, "extract", corpus, features, *options)
    _say("4. Train a head on the cached features (no image is touched)")
    head = folder / "heads" / features.name
    trained = _permafrost(folder, "train", features, "--out", head)
    _say("5. Classify images that no one has seen")
    predicted = _permafrost(folder, "predict", head, *sorted(new.iterdir()))
    _say("What happened")
    _report(extracted, trained, predicted, weights, corpus, features, head, time.monotonic() - started)
    return 0


def write_digits(folder: Path) -> tuple[Path, Path]:
    """Write the digits as `digits/<class>/<number>.png`, the last few as `new/`; files that are there stay untouched."""
    corpus, new = folder / "digits", folder / "new"
    digits = load_digits()
    for i, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        is_new = i >= len(digits.images) - NEW_IMAGES
        path = new / f"{i:04d}-is-{label}.png" if is_new else corpus / str(label) / f"{i:04d}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            grey = Image.fromarray((pixels * (255 / 16)).astype("uint8"))
            grey.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC).save(path)
    print(f"{len(digits.images) - NEW_IMAGES} images in {corpus}, {NEW_IMAGES} more in {new}")
    return corpus, new


def choose_weights() -> str:
    """ImageNet weights if they can be had in ten seconds, else seeded random ones, said in plain sight."""
    print(f"Trying to get ImageNet weights, for {IMAGENET_SECONDS:.0f} seconds at most ...", flush=True)
    if _fetch_imagenet():
        print("Got them: the network knows the visual world already.")
        return "imagenet"
    print(
        "\n  *** No ImageNet weights could be had: going on with SEEDED RANDOM WEIGHTS (random:0). ***\n"
        "  All that follows is the real thing except the knowledge in the network. A random network still turns images into\n"
        "  features, and these digits are easy enough to be told apart by them; photographs are not: 0.26 instead of 0.87\n"
        "  test accuracy on ten classes of clothes. With weights at hand: scripts/quickstart --weights FILE.h5\n"
    )
    return "random:0"


def _fetch_imagenet() -> bool:
    """Let Keras download into its cache, in a process that can be stopped; the clock starts once Keras is imported."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    process = subprocess.Popen([sys.executable, "-c", _FETCH], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        return process.wait(IMAGENET_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        process.kill()
        process.wait()


def _permafrost(folder: Path, *words: object) -> dict[str, Any]:
    """Show and run one command in `folder`; its progress goes to the terminal, its JSON comes back."""
    command = [str(word.relative_to(folder)) if isinstance(word, Path) and word.is_relative_to(folder) else str(word) for word in words]
    shown = [word for word in command if not word.startswith("new/")] + ["new/*.png"] * any(w.startswith("new/") for w in command)
    print(f"$ permafrost {' '.join(shown)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "scripts.cli", *command, "--json"], stdout=subprocess.PIPE, text=True, check=False, cwd=folder
    )
    if done.returncode != 0:
        sys.exit(f"The command above ended with exit code {done.returncode}.")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _report(
    extracted: dict[str, Any],
    trained: dict[str, Any],
    predicted: dict[str, Any],
    weights: str,
    corpus: Path,
    features: Path,
    head: Path,
    seconds: float,
) -> None:
    metrics = trained["metrics"]
    account = f"{extracted['listed']} listed = {extracted['rows']} rows + {extracted['rejected']} rejected + {extracted['pending']} pending"
    work = f"{extracted['read']} files read, {extracted['embedded']} images embedded, {extracted['reused']} reused"
    print_table(["image", "truth", "predicted", "probability"], [_row(p) for p in predicted["predictions"]])
    right = sum(truth == guess for _, truth, guess, _ in map(_row, predicted["predictions"]))
    print()
    print_pairs(
        [
            ("images", account),
            ("extraction", f"{work}, {extracted['seconds']:.0f} s with {extracted['workers']} Ray actors"),
            ("training", f"{trained['seconds']:.1f} s on cached features, {trained['rows_by_split']['train']} images to learn from"),
            ("weights", weights + (" (no pretrained knowledge)" if weights.startswith("random:") else "")),
            ("test accuracy", f"{metrics['test']['accuracy']:.3f} on {trained['rows_by_split']['test']} images held out (guessing: 0.100)"),
            ("new images", f"{right} of {len(predicted['predictions'])} right"),
            ("all in", f"{seconds:.0f} s"),
            ("corpus", corpus),
            ("feature set", f"{features} (version {extracted['version']})"),
            ("head", head),
        ]
    )
    print(f"\nRun it again: every embedding is reused. Look inside:\n  {Path(sys.prefix) / 'bin' / 'permafrost'} store show {features}")


def _row(prediction: dict[str, Any]) -> tuple[str, str, str, float]:
    image = Path(prediction["image"]).name
    return image, image.split("-is-")[1].removesuffix(".png"), prediction["class"], prediction["probability"]


def _name_of(weights: str) -> str:
    """A name for the set by its weights, so that runs with other weights do not meet in one set."""
    path = Path(weights)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8] if path.is_file() else weights.replace(":", "")


def _say(title: str) -> None:
    print(f"\n== {title}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
