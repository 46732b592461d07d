"""Rates of this machine at one cut: from files to features, and of training the tail behind it, on a few batches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import keras
import numpy as np
import numpy.typing as npt

from extractor.backbones import whole_network
from extractor.cut import outputs_of
from extractor.cut_plan import CutRate
from extractor.cuts import Cut
from extractor.keras_session import fresh_session
from extractor.recipe import Recipe
from extractor.worker import Worker

Array = npt.NDArray[np.generic]
CLASSES = 10  # of the head behind the tail: its cost is nothing beside that of the tail
STEPS = 5
BATCH_SIZE = 32
VECTORS = 256  # a batch of the head alone


def measure_cut(recipe: Recipe, cut: Cut, locations: Sequence[str], threads: int = 2) -> CutRate:
    """recipe: of the network; locations: images of the corpus, which are read, decoded and embedded once."""
    # float32, as random weights may give what float16 cannot hold.
    at_cut = replace(recipe, layer=cut.layer, pooling="none", dtype="float32")
    images_a_second = Worker((at_cut,), threads).measure(locations)
    fresh_session()
    network, _ = whole_network(recipe)
    tail = keras.models.clone_model(keras.Model(outputs_of(network)[cut.layer][0], network.outputs[0]))
    for layer in tail._flatten_layers():
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    x = keras.layers.Reshape((-1, tail.output_shape[-1]))(tail.output)
    model = _compiled(tail.input, keras.layers.GlobalAveragePooling1D()(x))
    return CutRate(cut, 1 / images_a_second, *_seconds_of(model, np.zeros((BATCH_SIZE, *cut.shape), np.float32)))


def measure_head(width: int) -> float:
    """Seconds of a vector of so many features in a training step of a head alone."""
    fresh_session()
    inputs = keras.Input((width,))
    return _seconds_of(_compiled(inputs, inputs), np.zeros((VECTORS, width), np.float32))[0]


def _compiled(inputs: keras.KerasTensor, ends: keras.KerasTensor) -> keras.Model:
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(ends))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def _seconds_of(model: keras.Model, x: Array) -> tuple[float, float]:
    """Of a row, in a training step and alone."""
    y = np.zeros(len(x), np.int64)
    return _median(lambda: model.train_on_batch(x, y)) / len(x), _median(lambda: model.predict_on_batch(x)) / len(x)


def _median(step: Callable[[], object]) -> float:
    step()  # builds the graph
    return statistics.median(_seconds(step) for _ in range(STEPS))


def _seconds(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started
