"""What every engine is: a frozen network as a fast function from uint8 images to embeddings, in batches of one size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from extractor.backbones import Backbone

Embeddings = npt.NDArray[np.float32]
IN_FLIGHT = 2  # batches that a device is given before the first of them is waited for: it never waits for the next one


class OutOfMemoryError(Exception):
    """The device has no memory for a batch of this size. Raised by an engine only when the batch is one image."""


class Engine(Protocol):
    """Several cuts of one network: `shapes` are those of their embeddings, without the batch."""

    @property
    def batch_size(self) -> int: ...

    @property
    def shapes(self) -> list[tuple[int, ...]]: ...

    def embed(self, images: Any) -> list[Embeddings]:
        """Embed uint8 [n, size, size, 3], n >= 1; returns float32 [n, *shape] of each cut. Raises OutOfMemoryError, ValueError for other
        input."""
        ...


class BatchEngine(ABC):
    """An engine whose graph takes exactly `batch_size` images: it pads a short last batch, and halves batches that need too much memory."""

    def __init__(self, backbones: Sequence[Backbone], batch_size: int) -> None:
        """backbones: cuts of one network, which one forward pass gives together (`backbones.build_together`)."""
        self.backbones = tuple(backbones)
        self.input_size = self.backbones[0].recipe.input_size
        self._settle(batch_size)
        self.shape = self.shapes[0]

    @abstractmethod
    def compile(self, batch_size: int) -> list[tuple[int, ...]]:
        """Make the graph for batches of this size; returns the shapes of the embeddings of one image. Raises OutOfMemoryError."""

    def whole(self, batch_size: int) -> int:
        """The largest size up to this one that the engine is fast with."""
        return batch_size

    @abstractmethod
    def start(self, images: Any) -> Any:
        """Give the device uint8 [batch_size, size, size, 3]; returns a pending result. Raises OutOfMemoryError."""

    @abstractmethod
    def finish(self, pending: Any) -> list[npt.NDArray[np.generic]]:
        """Wait for what `start` returned: [batch_size, *shape] of each cut. Raises OutOfMemoryError."""

    @abstractmethod
    def pad(self, images: Any, rows: int) -> Any:
        """Append so many black images."""

    def __call__(self, images: Any) -> Embeddings:
        """Embed uint8 [n, size, size, 3], n >= 1, at the first cut; returns float32 [n, *shape]. Otherwise as `embed`."""
        return self.embed(images)[0]

    def embed(self, images: Any) -> list[Embeddings]:
        """Embed uint8 [n, size, size, 3], n >= 1; returns float32 [n, *shape] of each cut.

        Where the memory does not suffice, the batch size halves, for good. Raises OutOfMemoryError when it is 1 already, and ValueError for
        other input, which some graphs would take and make plausible features of.
        """
        self._require_images(images)
        done: list[list[Embeddings]] = []
        start, n = 0, int(images.shape[0])
        while start < n:
            try:
                self._embed_all(images[start:] if start else images, done)
            except OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self._settle(self.batch_size // 2)
            start = sum(len(parts[0]) for parts in done)
        return done[0] if len(done) == 1 else [np.concatenate(parts) for parts in zip(*done, strict=True)]

    def _require_images(self, images: Any) -> None:
        shape, dtype = tuple(images.shape), images.dtype.name
        if dtype != "uint8" or shape[1:] != (self.input_size, self.input_size, 3) or not shape[0]:
            size = self.input_size
            raise ValueError(f"expected images as uint8 [n, {size}, {size}, 3], one at least; got {dtype} {list(shape)}")

    def _settle(self, batch_size: int) -> None:
        """Compile for this size, or for the largest half of it that the memory suffices for."""
        while True:
            batch_size = self.whole(batch_size)
            try:
                self.shapes, self.batch_size = self.compile(batch_size), batch_size
            except OutOfMemoryError:
                if batch_size == 1:
                    raise
                batch_size //= 2
            else:
                return

    def _embed_all(self, images: Any, done: list[list[Embeddings]]) -> None:
        waiting: deque[tuple[int, Any]] = deque()

        def collect() -> None:
            rows, pending = waiting.popleft()
            done.append([np.asarray(features[:rows], np.float32) for features in self.finish(pending)])

        for start in range(0, int(images.shape[0]), self.batch_size):
            batch = images[start : start + self.batch_size]
            rows = int(batch.shape[0])
            waiting.append((rows, self.start(batch if rows == self.batch_size else self.pad(batch, self.batch_size - rows))))
            if len(waiting) == IN_FLIGHT:
                collect()
        while waiting:
            collect()


def joint_network(backbones: Sequence[Backbone]) -> keras.Model:
    """One model with an output for each cut: the cuts share its layers, each computed once."""
    first = backbones[0].model
    return first if len(backbones) == 1 else keras.Model(first.inputs, [backbone.model.outputs[0] for backbone in backbones])


def embed_in_graph(images: Any, backbones: Sequence[Backbone], call: Callable[[Any], Any]) -> list[Any]:
    """Preprocessing, network and pooling, for a graph of the Keras backend in use. The first and the last are float32 in any precision.

    images: uint8 [n, size, size, 3]. call: the network, from preprocessed float32 images to the output of each cut.
    """
    x = keras.ops.cast(images, "float32")
    preprocessing = backbones[0].recipe.preprocessing
    if preprocessing != "none":
        x = keras.applications.imagenet_utils.preprocess_input(x, mode=preprocessing)
    features = call(x)
    of_each = features if isinstance(features, (list, tuple)) else [features]
    return [_pooled(keras.ops.cast(each, "float32"), backbone.recipe.pooling) for each, backbone in zip(of_each, backbones, strict=True)]


def _pooled(features: Any, pooling: str) -> Any:
    positions = list(range(1, len(features.shape) - 1))  # height and width of a map, tokens of a sequence
    if pooling == "avg":
        return keras.ops.mean(features, axis=positions)
    return keras.ops.max(features, axis=positions) if pooling == "max" else features
