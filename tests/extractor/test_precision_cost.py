"""Weighing a precision keeps to its share of the run: engines that let a clock advance instead of computing."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from extractor.engine import OutOfMemoryError
from extractor.engine_choice import EngineChoice
from extractor.engine_settling import weigh_precision
from extractor.precision_cost import weigh
from extractor.precision_plan import IMAGES, LEAST_BATCHES, SHARE, drawn
from extractor.weighed import Weighed

BATCH, SIZE = 32, 4
PIXELS = [np.full((SIZE, SIZE, 3), i, np.uint8) for i in range(IMAGES)]
DIGESTS = [bytes([i]) * 32 for i in range(IMAGES)]


def load(count: int) -> Any:
    return PIXELS[:count], DIGESTS[:count]


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
        angles = pixels[:, 0, 0, 0] / 300 + self.turn * (pixels[:, 0, 0, 0] % 2)
        return [np.stack([np.cos(angles), np.sin(angles)], axis=1)]

    def embed_all(self, pixels: Any) -> Any:
        return np.concatenate([self.embed(np.stack(pixels[start : start + BATCH]))[0] for start in range(0, len(pixels), BATCH)])


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
    numbers: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        self.engine = Engine(self.clock, self.seconds, turn=0.1)
        self.kind = SimpleNamespace(size=SIZE, views=SimpleNamespace(count=self.views))

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
    told = weigh(network, EngineChoice("openvino", quantized=b"int8"), load, files).cost  # type: ignore[arg-type]
    run_seconds = files * seconds / BATCH
    share = SHARE * run_seconds * (1.5 if slowness > 5 else 1)  # it was measured after the first batch
    assert clock.now <= share + seconds
    if files < LEAST_BATCHES * BATCH:
        assert (clock.now, f"about {files} images to embed" in told["left_out"]) == (0, True)
    elif "left_out" in told:
        assert clock.now == pytest.approx(seconds)
        assert f"about {run_seconds:.0f} s of forward passes" in told["left_out"]


def test_each_image_is_embedded_once_in_both_and_the_numbers_are_paired(clock: Clock) -> None:
    network = Network(clock, 0.1, 4.0)
    found = weigh(network, EngineChoice(), load, 1_000_000)  # type: ignore[arg-type]
    assert found.cost == {"images": 256, "cosine_least": 0.995, "cosine_median": pytest.approx(0.9975, abs=1e-4), "times_as_fast": 4.0}
    assert (network.engine.batches, network.fine[0].batches) == (9, 9)  # one to foresee, one to warm up
    assert found.digests == tuple(DIGESTS)
    assert found.fine is not None
    np.testing.assert_array_equal(found.fine, network.fine[0].embed_all(PIXELS))


def test_shorter_runs_are_weighed_with_fewer_images(clock: Clock) -> None:
    lengths = (1280, 6_000, 14_000, 100_000)
    found = [weigh(Network(clock, 1.0, 5.0), EngineChoice(), load, files) for files in lengths]  # type: ignore[arg-type]
    assert [each.cost.get("images", 0) for each in found] == [0, 0, 32, 256]
    assert [len(each.digests) for each in found] == [0, 0, 32, 256]
    assert [0 if each.fine is None else len(each.fine) for each in found] == [0, 0, 32, 256]


def test_fewer_are_drawn_from_what_is_little() -> None:
    assert [drawn(of_worker) for of_worker in (1280, 3000, 10**6)] == [64, 150, IMAGES]


def test_views_are_forward_passes_too(clock: Clock) -> None:
    found = weigh(Network(clock, 1.0, 5.0, views=4), EngineChoice(), load, 6_000)  # type: ignore[arg-type]
    assert found.cost["images"] == 128


def test_few_images_that_could_be_decoded_suffice(clock: Clock) -> None:
    found = weigh(Network(clock, 1.0, 5.0), EngineChoice(), lambda _: (PIXELS[:9], DIGESTS[:9]), 100_000)  # type: ignore[arg-type]
    assert (found.cost["images"], found.digests) == (9, tuple(DIGESTS[:9]))


def test_the_first_of_the_chosen_images_are_from_anywhere_in_the_listing() -> None:
    asked: list[str] = []

    def ask_one(what: str, locations: list[str], *_: Any) -> Weighed:
        asked.extend(locations)
        return Weighed({})

    listing, options = SimpleNamespace(base=""), SimpleNamespace(limits=None)
    files = [SimpleNamespace(location=f"{number:05d}") for number in range(20_000)]
    weigh_precision(SimpleNamespace(ask_one=ask_one), SimpleNamespace(listing=listing, options=options), files, 20_000)  # type: ignore[arg-type]
    assert len(set(asked)) == IMAGES
    some = sorted(map(int, asked[:32]))
    assert some[0] < 4_000
    assert some[-1] > 16_000


def test_a_machine_without_memory_for_both_precisions_says_so(clock: Clock) -> None:
    class Full(Network):
        def make(self, choice: EngineChoice, precision: str) -> Engine:
            raise OutOfMemoryError("8 GiB are too many")

    told = weigh(Full(clock, 0.1, 4.0), EngineChoice(), load, 1_000_000).cost  # type: ignore[arg-type]
    assert told == {"left_out": "not enough memory for the network in float32 beside its own precision"}
