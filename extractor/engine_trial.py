"""Which of the engines that are installed is fastest here, by a few batches of each in turn, and with which size of batches."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from extractor.engine import BatchEngine
from extractor.engine_choice import DEFAULT, ENGINES, EngineChoice, is_installed
from extractor.last_words import last_line
from extractor.make_engine import device_of
from extractor.network import Network

# Compiling ResNet50 and warming it up takes OpenVINO six seconds on two cores, MobileNetV2 two.
MIN_SECONDS = 120.0  # that the forward passes of a run take with the default engine; below, a measurement does not pay
SHARE, MOST_SECONDS = 0.03, 15.0  # of the run that rounds of measurement may take, beside compiling
ROUNDS = 5  # at most; the best of each counts
WORTH_IT = 1.03  # another batch size has to be so much faster


@dataclass
class _Candidate:
    choice: EngineChoice
    engines: Sequence[BatchEngine]  # for each network
    seconds: float = float("inf")  # an image, in all networks

    @property
    def rate(self) -> float:
        return 1 / self.seconds

    @property
    def batch_size(self) -> int:
        return min(engine.batch_size for engine in self.engines)

    def measure(self) -> float:
        """Seconds an image of one batch of made-up images for each network."""
        seconds = 0.0
        for engine in self.engines:
            images = np.random.default_rng(0).integers(0, 256, (engine.batch_size, engine.input_size, engine.input_size, 3), np.uint8)
            started = time.perf_counter()
            engine.embed(images)
            seconds += (time.perf_counter() - started) / len(images)
        return seconds


class EngineTrial:
    """networks: with the default engine; afterwards with the chosen one. images: that one worker is to embed, in all their views."""

    def __init__(self, networks: Sequence[Network], images: int) -> None:
        self._networks = networks
        self._default = _Candidate(EngineChoice(), [network.engine for network in networks])
        # The least counts: in a first call TensorFlow optimises the graph of each network.
        self._default.seconds = min(self._default.measure() for _ in range(2))
        self._seconds = images * networks[0].kind.views.count * self._default.seconds

    def is_worth_it(self) -> bool:
        return self._seconds >= MIN_SECONDS

    def default(self) -> EngineChoice:
        """The choice without a measurement."""
        return EngineChoice(measured=True, why=f"about {self._seconds:.0f} s of forward passes, too few to measure other engines")

    def choose(self, accept: Callable[[], bool]) -> EngineChoice:
        """accept: whether what the networks now give is within the tolerance."""
        allowed, candidates, left_out = min(MOST_SECONDS, SHARE * self._seconds), [self._default], list[str]()
        for name in ENGINES:
            candidate = self._candidate(name, accept)
            if isinstance(candidate, _Candidate):
                candidates.append(candidate)
            elif candidate:
                left_out.append(candidate)
        spent = _measure(candidates, allowed, left_out)
        best = min(candidates, key=lambda each: each.seconds)
        self._take(best)
        for each in candidates:
            if each is not best:
                each.engines = ()  # gives its memory back before larger batches are tried
        turn = [best, *self._sizes(best, left_out)]
        _measure(turn, allowed - spent, left_out)
        sizes = turn[1:]
        taken = min([best, *[each for each in sizes if each.rate > WORTH_IT * best.rate]], key=lambda each: each.seconds)
        self._take(taken)
        return replace(taken.choice, measured=True, why=_told(taken, best, candidates, sizes, left_out))

    def _candidate(self, name: str, accept: Callable[[], bool]) -> _Candidate | str:
        """Compiled; or why not in words, "" where it is out of the question."""
        kind, precision = ENGINES[name], self._networks[0].precision
        if name == DEFAULT or kind.backend != "tensorflow" or precision not in kind.precisions:
            return ""
        if not (kind.on_cpu if device_of(DEFAULT) == "CPU" else kind.on_gpu):
            return ""
        if self._seconds < kind.least_seconds:
            return f"{name} left out: it takes long to compile, {kind.least_seconds:.0f} s of forward passes would be worth that"
        if not is_installed(name):
            return f"{name} is not installed"
        candidate = self._made(EngineChoice(name))
        if isinstance(candidate, str):
            return candidate
        self._take(candidate)
        try:
            return candidate if accept() else f"{name} strays too far from the golden images"
        except Exception as error:  # noqa: BLE001 - as in `_made`
            return _failed(candidate.choice, error)

    def _sizes(self, best: _Candidate, left_out: list[str]) -> list[_Candidate]:
        """The same engine with other batches. A network beside others keeps its own."""
        if len(self._networks) > 1:
            return []
        sizes = {best.batch_size // 2} if device_of(best.choice.name) == "CPU" else {best.batch_size // 2, 2 * best.batch_size}
        made = [self._made(replace(best.choice, batch_size=size)) for size in sorted(sizes - {0})]
        left_out += [each for each in made if isinstance(each, str)]
        return [each for each in made if isinstance(each, _Candidate)]

    def _made(self, choice: EngineChoice) -> _Candidate | str:
        """Compiled; or why not in words."""
        try:
            return _Candidate(choice, [network.make(choice) for network in self._networks])
        except Exception as error:  # noqa: BLE001 - what is only tried ends no run, however it fails
            return _failed(choice, error)

    def _take(self, candidate: _Candidate) -> None:
        for network, engine in zip(self._networks, candidate.engines, strict=True):
            network.take(candidate.choice, engine)


def _measure(candidates: list[_Candidate], allowed: float, left_out: list[str]) -> float:
    """In turn, so that what else the machine does hits all alike; the first round warms up. Returns the seconds it took.

    Whoever fails is taken from `candidates`, but for the first, which the run has in any case.
    """
    started = time.perf_counter()
    for each in candidates:
        each.seconds = float("inf")
    for number in range(ROUNDS + 1):
        if number > 1 and time.perf_counter() - started > allowed:
            break
        for each in candidates[:]:
            try:
                seconds = each.measure()
            except Exception as error:  # as in `EngineTrial._made`
                if each is candidates[0]:
                    raise
                candidates.remove(each)
                left_out.append(_failed(each.choice, error))
            else:
                if number:
                    each.seconds = min(each.seconds, seconds)
    return time.perf_counter() - started


def _failed(choice: EngineChoice, error: Exception) -> str:
    """Without the way out, which is for whoever asked for that engine."""
    what = f"batches of {choice.batch_size}" if choice.batch_size else choice.name
    return f"{what} left out: {re.split(r':? [(]?use --', last_line(error))[0]}"


def _told(
    taken: _Candidate, best: _Candidate, candidates: Sequence[_Candidate], sizes: Sequence[_Candidate], left_out: Sequence[str]
) -> str:
    """Such as `36 images/s against 24 with tensorflow; batches of 32 (16: 35 images/s)`."""
    others = [f"{each.rate:.0f} with {each.choice.name}" for each in candidates if each is not best]
    against = f" against {' and '.join(others)}" if others else ""
    tried = ", ".join(f"{each.batch_size}: {each.rate:.0f} images/s" for each in (best, *sizes) if each is not taken)
    batches = f"batches of {taken.batch_size}" + (f" ({tried})" if tried else "")
    return "; ".join([f"{taken.rate:.0f} images/s{against}", batches, *left_out])
