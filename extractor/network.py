"""One network of a worker and the features that it gives: of one cut, or of several that share a forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from extractor.backbones import Backbone, build_together
from extractor.engine import BatchEngine, OutOfMemoryError
from extractor.engine_choice import AS_USUAL, EngineChoice
from extractor.input_kind import InputKind, input_kind
from extractor.make_engine import make_engine
from extractor.quantized_network import quantization_of
from extractor.recipe import Recipe
from storage.space import Space
from storage.stored import to_stored

Rejects = dict[int, tuple[str, str]]  # position -> (reason, message)
Embeddings = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Output:
    """What one feature set gets: `number` is its position among the sets of the run."""

    number: int
    space: Space
    dtype: str
    shape: tuple[int, ...]

    def is_for(self, claimed: int) -> bool:
        """Whether a claim (`extractor.claims.Claim`) is one for this set."""
        return bool(claimed >> self.number & 1)


@dataclass
class Part:
    """What one output makes of a batch: positions that have features, [n * V, *shape] of them, and the rejects."""

    output: Output
    positions: list[int]
    embeddings: Embeddings
    rejects: Rejects = field(default_factory=dict)


class Network:
    def __init__(self, backbones: Sequence[tuple[int, Backbone]], choice: EngineChoice = AS_USUAL, threads: int = 2) -> None:
        """backbones: cuts of one network (`build_together`), each with the number of its set. threads: CPU cores of the worker."""
        self._backbones, self._threads = tuple(backbone for _, backbone in backbones), threads
        self.kind: InputKind = input_kind(self._backbones[0].recipe)
        self.numbers = [number for number, _ in backbones]
        self.take(choice, self.make(choice))

    def calibrated(self, images: npt.NDArray[np.uint8], digests: Sequence[bytes]) -> bytes:
        """The network in int8, by uint8 [n, S, S, 3] with their content digests. The engine is OpenVINO's."""
        from extractor.openvino_engine import OpenVinoEngine

        assert isinstance(self.engine, OpenVinoEngine)
        return self.engine.quantized(images, digests)

    @property
    def precision(self) -> str:
        return self._backbones[0].recipe.precision

    @property
    def batch_size(self) -> int:
        return self.engine.batch_size

    def take(self, choice: EngineChoice, engine: BatchEngine) -> None:
        """Go on with an engine that was made for this choice."""
        self.engine = engine
        quantization = quantization_of(choice.quantized) if choice.quantized else None
        self.outputs = [
            Output(number, replace(backbone.space, quantization=quantization), backbone.recipe.dtype, shape)
            for number, backbone, shape in zip(self.numbers, self._backbones, engine.shapes, strict=True)
        ]

    def make(self, choice: EngineChoice, precision: str | None = None) -> BatchEngine:
        """An engine for this network, such as may become its `engine`. precision: another one than the network's.

        Raises UsageError for one that cannot be had here.
        """
        backbones = [replace(each, recipe=replace(each.recipe, precision=precision or each.recipe.precision)) for each in self._backbones]
        return make_engine(choice, backbones, self._threads)

    def embed(self, positions: Sequence[int], claimed: Sequence[int], images: tf.Tensor) -> list[Part]:
        """Embed those of n images that one of the outputs is to have. images: uint8 [n * V, size, size, 3].

        What the stored dtype cannot hold in all views, or memory not even alone, is a reject of that output.
        """
        views = self.kind.views.count
        wanted = [i for i, claim in enumerate(claimed) if any(output.is_for(claim) for output in self.outputs)]
        if not wanted:
            return []
        if len(wanted) < len(positions):
            images = tf.gather(images, [i * views + view for i in wanted for view in range(views)])
        try:
            features = self.engine.embed(images)
        except OutOfMemoryError:  # the engine tried one image at a time; which of them was it?
            return self._embed_alone([positions[i] for i in wanted], [claimed[i] for i in wanted], images)
        parts = []
        for output, of_output in zip(self.outputs, features, strict=True):
            mine = [k for k, i in enumerate(wanted) if output.is_for(claimed[i])]
            if not mine:
                continue
            rows = of_output if len(mine) == len(wanted) else of_output.reshape(len(wanted), views, *output.shape)[mine]
            parts.append(_part(output, [positions[wanted[k]] for k in mine], rows.reshape(-1, *output.shape), views))
        return parts

    def _embed_alone(self, positions: list[int], claimed: list[int], images: tf.Tensor) -> list[Part]:
        views = self.kind.views.count
        if len(positions) > 1:
            single = (slice(i, i + 1) for i in range(len(positions)))
            each = [self.embed(positions[i], claimed[i], images[i.start * views : i.stop * views]) for i in single]
            return [part for parts in each for part in parts]
        reject = ("out-of-memory", "not enough memory for the network on one image here")
        mine = [output for output in self.outputs if output.is_for(claimed[0])]
        return [Part(output, [], np.zeros((0, *output.shape), output.dtype), {positions[0]: reject}) for output in mine]


def build_networks(recipes: Sequence[Recipe], choice: EngineChoice = AS_USUAL, threads: int = 2) -> list[Network]:
    return [Network(backbones, choice, threads) for backbones in build_together(recipes)]


def _part(output: Output, positions: list[int], features: npt.NDArray[np.float32], views: int) -> Part:
    embeddings, faults = to_stored(features, output.dtype)
    rejects = {positions[row // views]: fault for row, fault in faults.items()}
    kept = np.array([position not in rejects for position in positions], np.bool_)
    left = [position for position in positions if position not in rejects]
    return Part(output, left, embeddings[np.repeat(kept, views)], rejects)
