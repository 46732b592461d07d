"""How many images a run embeds in float32 as well, to weigh its precision, so that this stays within its share of the run. Pure."""

from __future__ import annotations

SHARE = 1 / 20  # of the seconds that the forward passes of one worker take, while which the others wait
IMAGES = 256  # at most: of so many, a head's accuracy is told within a point or two
LEAST = 8  # of fewer, a median says little
COMPILE_SECONDS = 6.0  # ResNet50 in float32 takes so long on two cores, MobileNetV2 two
FLOAT32_TAKES = 5.0  # times as long, until it is measured: MobileNetV2 against int8, the most of those in docs/benchmarks.md
LEAST_BATCHES = round(2 * (1 + FLOAT32_TAKES) / SHARE)  # of a run that can pay: one to warm up and one to weigh with, in both precisions


def drawn(of_worker: int) -> int:
    """Images to choose for it, before anything is timed. of_worker: that one worker is to embed."""
    return min(IMAGES, int(SHARE * of_worker))


def affordable(seconds: float, batch_size: int, run_seconds: float) -> int:
    """Images to weigh with; 0 where the run is too short for it.

    seconds: that a batch takes in the run's precision. Each batch is embedded once in both, and a first one before, to warm up.
    """
    batches = int((SHARE * run_seconds - COMPILE_SECONDS) / (seconds * (1 + FLOAT32_TAKES))) - 1
    images = min(IMAGES, batches * batch_size)
    return images if images >= LEAST else 0


def too_few_images(images: int) -> str:
    """images: that one worker is to embed, as far as can be foreseen."""
    return f"not weighed against float32, as about {images} images to embed for each worker are too few; {_ELSEWHERE}"


def too_short(run_seconds: float) -> str:
    return f"not weighed against float32, as about {run_seconds:.0f} s of forward passes for each worker are too few; {_ELSEWHERE}"


OF_FIRST_SET = "not weighed against float32, which a run does for the first of its sets alone"
_ELSEWHERE = "`permafrost doctor --images` does it for any corpus"
