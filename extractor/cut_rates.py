"""Rates of this machine at one cut: from files to features, and of training the tail behind it, on a few batches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
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


def measure_cut(recipe: Recipe, cut: Cut, locations: Sequence[str], threads: int = 2) -> CutRate:
    """recipe: of the network; locations: images of the corpus, which are read, decoded and embedded once."""
    # float32, as random weights may give what float16 cannot hold.
    at_cut = replace(recipe, layer=cut.layer, pooling="none", dtype="float32")
    images_a_second = Worker((at_cut,), threads).measure(locations)
    return CutRate(cut, 1 / images_a_second, _training_seconds(recipe, cut))


def _training_seconds(recipe: Recipe, cut: Cut) -> float:
    """Of an image, the median of a few steps with features that are zeros."""
    fresh_session()
    network, _ = whole_network(recipe)
    tail = keras.models.clone_model(keras.Model(outputs_of(network)[cut.layer][0], network.outputs[0]))
    for layer in tail._flatten_layers():
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    x = keras.layers.Reshape((-1, tail.output_shape[-1]))(tail.output)
    model = keras.Model(tail.input, keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling1D()(x)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = np.zeros((BATCH_SIZE, *cut.shape), np.float32), np.zeros(BATCH_SIZE, np.int64)
    model.train_on_batch(x, y)  # builds the graph
    return statistics.median(_seconds(model, x, y) for _ in range(STEPS)) / BATCH_SIZE


def _seconds(model: keras.Model, x: Array, y: Array) -> float:
    started = time.perf_counter()
    model.train_on_batch(x, y)
    return time.perf_counter() - started
