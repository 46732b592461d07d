"""OpenVINO as its own documentation uses it: the plain Keras model, preprocessed images in float32, its queue of requests.

https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/optimizing-throughput.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from extractor.quiet_openvino import openvino

HINTS = {"float32": "f32", "bfloat16": "bf16"}
Pixels = npt.NDArray[np.float32]


def openvino_alone(model: keras.Model, shape: tuple[int, ...], precision: str) -> Callable[[Sequence[Pixels]], Pixels]:
    """A function from batches of this shape [n, S, S, 3] to features [batches * n, ...]."""
    signature = tf.TensorSpec(shape, tf.float32)
    traced = tf.function(lambda x: model(x, training=False), input_signature=[signature], autograph=False).get_concrete_function()
    options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": HINTS[precision]}
    queue = openvino.AsyncInferQueue(openvino.Core().compile_model(openvino.convert_model(traced), "CPU", options))

    def embed(batches: Sequence[Pixels]) -> Pixels:
        found: dict[int, Pixels] = {}
        queue.set_callback(lambda request, number: found.update({number: request.get_output_tensor(0).data.copy()}))
        for number, batch in enumerate(batches):
            queue.start_async([batch], number)
        queue.wait_all()
        return np.concatenate([found[number] for number in range(len(batches))])

    return embed
