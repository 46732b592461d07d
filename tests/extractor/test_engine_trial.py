"""Which engine a trial takes, with engines that sleep so long as they say."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from extractor.engine import OutOfMemoryError
from extractor.engine_choice import EngineChoice
from extractor.engine_trial import MIN_SECONDS, ROUNDS, EngineTrial
from extractor.input_kind import InputKind
from storage.errors import UnstorableError, UsageError

PLANNED = 4


@dataclass
class Sleeper:
    """Takes `of_image` seconds an image and `of_batch` a batch, and `of_first` once."""

    batch_size: int
    of_image: float
    of_batch: float = 0.0
    input_size: int = 8
    of_first: float = 0.0
    breaks: str = ""  # what an error says that each batch ends in
    batches: int = 0  # so far

    def embed(self, images: Any) -> Any:
        if self.breaks:
            raise RuntimeError(self.breaks)
        self.batches += 1
        time.sleep(self.of_batch + len(images) * self.of_image + self.of_first)
        self.of_first = 0.0
        return [np.zeros((len(images), 1))]


@dataclass
class SleepingNetwork:
    speeds: dict[str, tuple[float, float]]
    precision: str = "float32"
    kind: InputKind = field(default_factory=lambda: InputKind(8))
    made: list[EngineChoice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = self.make(EngineChoice())

    def take(self, choice: EngineChoice, engine: Sleeper) -> None:
        self.engine = engine

    def make(self, choice: EngineChoice) -> Sleeper:
        if choice.name not in self.speeds:
            raise UsageError("not on this CPU")
        self.made.append(choice)
        return Sleeper(choice.batch_size or PLANNED, *self.speeds[choice.name])


def trial(network: Any, seconds: float = 2 * MIN_SECONDS) -> EngineTrial:
    return EngineTrial([network], int(seconds / network.speeds["tensorflow"][0]))


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.engine_trial.is_installed", lambda name: True)
    monkeypatch.setattr("extractor.engine_trial.device_of", lambda name: "CPU")


def test_the_fastest_is_taken_and_why_is_said() -> None:
    network = SleepingNetwork({"tensorflow": (0.004, 0.0), "openvino": (0.001, 0.0)})
    chosen = trial(network).choose(lambda: True)
    assert (chosen.name, chosen.batch_size, chosen.measured) == ("openvino", None, True)
    assert network.engine.of_image == 0.001
    assert "images/s against" in chosen.why
    assert "with tensorflow; batches of 4 (2: " in chosen.why


def test_smaller_batches_are_taken_where_they_are_faster() -> None:
    class FastInTwos(SleepingNetwork):
        def make(self, choice: EngineChoice) -> Sleeper:
            made = super().make(choice)
            return Sleeper(made.batch_size, made.of_image * made.batch_size / 4)

    network = FastInTwos({"tensorflow": (0.004, 0.0)})
    chosen = trial(network).choose(lambda: True)
    assert (chosen.name, chosen.batch_size, network.engine.batch_size) == ("tensorflow", 2, 2)
    assert chosen.why.endswith("; openvino left out: not on this CPU")


def test_an_engine_outside_the_tolerance_is_left_out() -> None:
    network = SleepingNetwork({"tensorflow": (0.004, 0.0), "openvino": (0.001, 0.0)})
    chosen = trial(network).choose(lambda: network.engine.of_image == 0.004)
    assert (chosen.name, network.engine.of_image) == ("tensorflow", 0.004)
    assert "openvino strays too far from the golden images" in chosen.why


def test_a_short_run_is_not_measured() -> None:
    network = SleepingNetwork({"tensorflow": (0.002, 0.0), "openvino": (0.001, 0.0)})
    short = trial(network, MIN_SECONDS / 4)
    assert not short.is_worth_it()
    assert short.default().name == "tensorflow"
    assert "too few to measure" in short.default().why
    assert network.made == [EngineChoice()]
    assert trial(network).is_worth_it()


@pytest.mark.slow
def test_the_first_call_of_each_network_is_no_part_of_what_a_run_takes() -> None:
    networks: Any = [SleepingNetwork({"tensorflow": (0.002, 0.0)}) for _ in range(3)]
    for network in networks:
        network.engine.of_first = 0.2
    assert not EngineTrial(networks, int(MIN_SECONDS / 4 / 0.006)).is_worth_it()


@pytest.mark.slow
def test_xla_is_tried_on_gpus_in_long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {"tensorflow": (0.002, 0.0), "xla": (0.001, 0.0)}
    assert trial(SleepingNetwork(speeds), 1e6).choose(lambda: True).name == "tensorflow"
    monkeypatch.setattr("extractor.engine_trial.device_of", lambda name: "a GPU")
    short, long = (trial(SleepingNetwork(speeds), seconds).choose(lambda: True) for seconds in (2 * MIN_SECONDS, 1e6))
    assert (short.name, long.name) == ("tensorflow", "xla")
    assert short.why.endswith("; xla left out: it takes long to compile, 600 s of forward passes would be worth that")
    assert "with tensorflow; batches of 4 (" in long.why


@pytest.mark.parametrize("when", ["made", "accepted", "measured"])
def test_what_fails_in_a_trial_is_left_out_however_it_fails(when: str) -> None:
    class Breaking(SleepingNetwork):
        def make(self, choice: EngineChoice) -> Sleeper:
            made = super().make(choice)
            if choice.name == "openvino" and when == "made":
                raise RuntimeError("the driver is gone")
            made.breaks = "the driver is gone" if choice.name == "openvino" and when == "measured" else ""
            return made

    def accept() -> bool:
        if when == "accepted":
            raise UnstorableError("no number (use --dtype float32)", 0)
        return True

    network = Breaking({"tensorflow": (0.004, 0.0), "openvino": (0.001, 0.0)})
    chosen = trial(network).choose(accept)
    reason = "no number" if when == "accepted" else "the driver is gone"
    assert (chosen.name, network.engine.of_image) == ("tensorflow", 0.004)
    assert chosen.why.endswith(f"; openvino left out: {reason}")


@pytest.mark.parametrize("when", ["made", "measured"])
def test_a_batch_that_needs_too_much_memory_is_left_out(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(SleepingNetwork):
        def make(self, choice: EngineChoice) -> Sleeper:
            if choice.batch_size == 2 * PLANNED and when == "made":
                raise OutOfMemoryError("8 GiB are too many")
            made = super().make(choice)
            made.breaks = "8 GiB are too many" if choice.batch_size == 2 * PLANNED else ""
            return made

    monkeypatch.setattr("extractor.engine_trial.device_of", lambda name: "a GPU")
    chosen = trial(Full({"tensorflow": (0.004, 0.0)})).choose(lambda: True)
    assert chosen.name == "tensorflow"
    assert "; batches of 8 left out: 8 GiB are too many" in chosen.why
    assert "8: 0 images/s" not in chosen.why


def test_what_the_run_has_in_any_case_may_fail() -> None:
    network = SleepingNetwork({"tensorflow": (0.004, 0.0)})
    found = trial(network)
    network.engine.breaks = "the disk is gone"
    with pytest.raises(RuntimeError, match="the disk is gone"):
        found.choose(lambda: True)


def test_compiling_takes_nothing_from_the_time_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Ticking(Sleeper):
        def embed(self, images: Any) -> Any:
            clock.now += self.of_image * len(images)
            self.batches += 1

    class SlowToMake(SleepingNetwork):
        def make(self, choice: EngineChoice) -> Sleeper:
            clock.now += 60.0
            engines.append(Ticking(choice.batch_size or PLANNED, *self.speeds[choice.name]))
            return engines[-1]

    clock, engines = SimpleNamespace(now=0.0), list[Sleeper]()
    monkeypatch.setattr("extractor.engine_trial.time", SimpleNamespace(perf_counter=lambda: clock.now))
    trial(SlowToMake({"tensorflow": (0.02, 0.0), "openvino": (0.01, 0.0)}), 1e6).choose(lambda: True)
    assert [each.batches for each in engines[1:]] == [2 * (1 + ROUNDS), 1 + ROUNDS]  # openvino in both turns, and half its batches
