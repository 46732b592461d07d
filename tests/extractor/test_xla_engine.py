from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from extractor.backbones import Backbone
from extractor.engine_trial import EngineTrial
from extractor.network import Network
from extractor.xla_engine import XlaEngine
from storage.errors import UsageError

pytestmark = pytest.mark.slow


class OutsideTheGraph(keras.layers.Layer):
    """What TensorFlow computes by a call of Python, and XLA not at all."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(lambda pixels: pixels, [x], tf.float32), x.shape)


def test_a_network_that_xla_cannot_compile_is_refused_in_words(small_backbone: Backbone) -> None:
    inputs = keras.Input((32, 32, 3))
    backbone = replace(small_backbone, model=keras.Model(inputs, OutsideTheGraph()(inputs)))
    with pytest.raises(UsageError, match=r"^XLA cannot compile .+ here \(no operation PyFunc\): use --engine tensorflow$"):
        XlaEngine(backbone, 2)


def test_a_trial_on_a_gpu_measures_it(small_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU is only said to be there: XLA compiles for the CPU as well."""
    monkeypatch.setattr("extractor.engine_trial.device_of", lambda name: "a GPU")
    network = Network([(0, small_backbone)])
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    before = network.engine(images)
    asked: list[Any] = []

    def accept() -> bool:
        asked.append(type(network.engine))
        return np.allclose(network.engine(images), before, rtol=1e-4, atol=1e-6)

    chosen = EngineTrial([network], 10**9).choose(accept)
    assert asked == [XlaEngine]
    assert "with tensorflow" in chosen.why if chosen.name == "xla" else "with xla" in chosen.why
    assert isinstance(network.engine, XlaEngine) == (chosen.name == "xla")
