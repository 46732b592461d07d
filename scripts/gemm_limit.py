"""What matrix products allow: how many images a second a network could take if it were nothing but these."""

from __future__ import annotations

import time
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.profiler.model_analyzer import profile
from tensorflow.python.profiler.option_builder import ProfileOptionBuilder

SIDE = 4096  # of square matrices: smaller ones reach less
ROUNDS = 5
PRECISIONS = ("float32", "bfloat16")


def gemm_limits(model: keras.Model, input_size: int) -> dict[str, Any]:
    """gflop_an_image: two for each multiplication and addition of them (TensorFlow's own count); gflops and images_per_second by precision,
    of the fastest of some products of TensorFlow on this CPU."""
    flop = flop_an_image(model, input_size)
    rates = {precision: gemm_rate(precision) for precision in PRECISIONS}
    return {
        "gflop_an_image": flop / 1e9,
        "gflops": {precision: rate / 1e9 for precision, rate in rates.items()},
        "images_per_second": {precision: rate / flop for precision, rate in rates.items()},
    }


def gemm_rate(precision: str) -> float:
    """FLOP/s."""
    left, right = (tf.cast(tf.random.stateless_uniform((SIDE, SIDE), (0, seed)), precision) for seed in (1, 2))
    product = tf.function(lambda: tf.matmul(left, right))
    product().numpy()
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(seconds)


def flop_an_image(model: keras.Model, input_size: int) -> float:
    signature = tf.TensorSpec((1, input_size, input_size, 3), tf.float32)
    graph = tf.function(lambda x: model(x, training=False), input_signature=[signature], autograph=False).get_concrete_function().graph
    options = ProfileOptionBuilder(ProfileOptionBuilder.float_operation()).with_empty_output().build()
    return float(profile(graph, options=options).total_float_ops)
