"""Weighing a precision keeps to its share of the run: engines that let a clock advance instead of computing."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from extractor.engine_choice import EngineChoice
from extractor.precision_cost import weigh
from extractor.precision_plan import IMAGES, SHARE

BATCH = 32
PIXELS = [np.full((4, 4, 3), i, np.uint8) for i in range(IMAGES)]


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Engine:
    """Gives a feature for each pixel value, turned a little; a batch takes so long, full or not."""

    clock: Clock
    seconds: float
    turn: float = 0.0
    batches: int = 0

    def embed(self, pixels: Any) -> list[Any]:
        assert 1 <= len(pixels) <= BATCH
        self.clock.now += self.seconds
        self.batches += 1
        angles = pixels[:, 0, 0, 0] / 100 + self.turn * (pixels[:, 0, 0, 0] % 2)
        return [np.stack([np.cos(angles), np.sin(angles)], axis=1)]


@dataclass
class Network:
    """float32 takes `slowness` times as long, and so many seconds to compile."""

    clock: Clock
    seconds: float
    slowness: float
    compiling: float = 5.0
    views: int = 1
    batch_size: int = BATCH
    fine: list[Engine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = Engine(self.clock, self.seconds, turn=0.1)
        self.kind = SimpleNamespace(views=SimpleNamespace(count=self.views))

    def make(self, choice: EngineChoice, precision: str) -> Engine:
        assert (choice.batch_size, choice.quantized, precision) == (BATCH, None, "float32")
        self.clock.now += self.compiling
        self.fine.append(Engine(self.clock, self.slowness * self.seconds))
        return self.fine[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("extractor.precision_cost.time", SimpleNamespace(perf_counter=clock))
    return clock


@pytest.mark.parametrize("slowness", [1.5, 2.5, 5.0, 10.0])
@pytest.mark.parametrize("seconds", [0.01, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("files", [1280, 5_000, 20_000, 1_000_000])
def test_it_takes_no_more_than_its_share_of_the_run(clock: Clock, files: int, seconds: float, slowness: float) -> None:
    network = Network(clock, seconds, slowness)
    told = weigh(network, EngineChoice("openvino", quantized=b"int8"), PIXELS, files)  # type: ignore[arg-type]
    run_seconds = files * seconds / BATCH
    share = SHARE * run_seconds * (1.5 if slowness > 5 else 1)  # it was measured after the first batch
    assert clock.now <= share + 2 * seconds
    if "left_out" in told:
        assert clock.now == pytest.approx(2 * seconds)
        assert f"about {run_seconds:.0f} s of forward passes" in told["left_out"]


def test_each_image_is_embedded_once_in_both_and_the_numbers_are_paired(clock: Clock) -> None:
    network = Network(clock, 0.1, 4.0)
    told = weigh(network, EngineChoice(), PIXELS, 1_000_000)  # type: ignore[arg-type]
    assert told == {"images": 64, "cosine_least": 0.995, "cosine_median": pytest.approx(0.9975, abs=1e-4), "times_as_fast": 4.0}
    assert (network.engine.batches, network.fine[0].batches) == (4, 3)  # two to warm up and to foresee, one to warm up


def test_shorter_runs_are_weighed_with_fewer_images(clock: Clock) -> None:
    lengths = (1280, 6_000, 14_000, 100_000)
    told = [weigh(Network(clock, 1.0, 5.0), EngineChoice(), PIXELS, files) for files in lengths]  # type: ignore[arg-type]
    assert [each.get("images", 0) for each in told] == [0, 0, 32, 64]


def test_views_are_forward_passes_too(clock: Clock) -> None:
    assert weigh(Network(clock, 1.0, 5.0, views=4), EngineChoice(), PIXELS, 6_000)["images"] == 64  # type: ignore[arg-type]


def test_few_images_that_could_be_decoded_suffice(clock: Clock) -> None:
    assert weigh(Network(clock, 1.0, 5.0), EngineChoice(), PIXELS[:9], 100_000)["images"] == 9  # type: ignore[arg-type]
