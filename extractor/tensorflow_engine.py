"""The frozen network as a TensorFlow graph with one signature."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from extractor.backbones import Backbone
from extractor.batch_size import plan_batch_size
from extractor.compute_precision import in_precision
from extractor.depthwise import with_depthwise
from extractor.engine import IN_FLIGHT, BatchEngine, OutOfMemoryError, embed_in_graph, joint_network
from extractor.folding import folded
from extractor.last_words import last_line
from storage.errors import UsageError

MAX_FROZEN_BYTES = 32 << 20  # 32 MiB
_MOVES_MEMORY = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


class TensorFlowEngine(BatchEngine):
    """Preprocessing, network and pooling in one graph with one static signature; a short last batch is padded.

    BatchNormalization is folded: images a CPU second, ResNet50 13.7 against 11.9, MobileNetV2 85 against 56; in bfloat16 24 against 19.5
    and 92 against 50, where a bias that is rounded with the rest takes MobileNetV2's median cosine to float32 from 0.9990 to 0.9986.
    Grappler's automatic bfloat16 was slower than Keras' policy (12.9 and 86), and compiling with XLA slower than float32 (9.3 and 3.1).

    The variables of a small network are frozen to constants: MobileNetV2 then takes 68 against 56 images/s in float32. A large one gains
    nothing and would pay in memory, some 20 times its weights at the peak.
    """

    def __init__(self, backbone: Backbone, batch_size: int | None = None, further: Sequence[Backbone] = ()) -> None:
        """further: other cuts of the same network, which one forward pass gives as well (`backbones.build_together`)."""
        backbones = (backbone, *further)
        self._may_round = backbone.recipe.precision == "tf32"
        self._threads = ThreadPoolExecutor(IN_FLIGHT)
        self._model = in_precision(folded(with_depthwise(joint_network(backbones))), backbone.recipe.precision)
        self._freezes = 4 * max(each.model.count_params() for each in backbones) <= MAX_FROZEN_BYTES
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        # A CPU works on IN_FLIGHT batches at once, which share the memory of one: with whole ones MobileNetV2 took 1.70 for 1.44 GB.
        together = 1 if on_gpu or (not self._freezes and _gains_by_whole_batches(self._model)) else IN_FLIGHT
        super().__init__(backbones, batch_size or max(1, plan_batch_size(backbones, on_gpu) // together))

    def compile(self, batch_size: int) -> list[tuple[int, ...]]:
        signature = tf.TensorSpec((batch_size, self.input_size, self.input_size, 3), tf.uint8)
        try:
            traced = tf.function(self._forward, input_signature=[signature], autograph=False).get_concrete_function()
        except (TypeError, ValueError) as error:
            raise self._in_words(error, _reason_of_keras(error)) from None
        # Loops stay functions: XLA compiles no lowered ones, and TensorFlow lowers them itself when it runs.
        self._function = convert_variables_to_constants_v2(traced, lower_control_flow=False) if self._freezes else traced
        return [tuple(output.shape[1:]) for output in traced.outputs]

    def start(self, images: tf.Tensor) -> Any:
        """On a thread of its own: on a CPU a call returns when it is done, and one alone leaves cores idle where its layers are small."""
        return self._threads.submit(self._run, tf.convert_to_tensor(images))

    def _run(self, images: tf.Tensor) -> Any:
        # TensorFlow keeps this for the process, and rounds float32 on recent GPUs unless it is told otherwise.
        tf.config.experimental.enable_tensor_float_32_execution(self._may_round)
        return self._function(images)

    def finish(self, pending: Any) -> list[npt.NDArray[np.generic]]:
        try:
            return [features.numpy() for features in pending.result()]
        except tf.errors.ResourceExhaustedError as error:
            raise OutOfMemoryError(error.message) from error
        except tf.errors.InvalidArgumentError as error:
            if "No OpKernel" not in error.message:
                raise
            raise self._in_words(error, error.message.splitlines()[0]) from None

    def _in_words(self, error: Exception, reason: str) -> Exception:
        """The error, or what to do where the network's precision may be at fault: many an operation is there in float32 alone."""
        name, precision = self.backbones[0].recipe.name, self.backbones[0].recipe.precision
        if precision in ("float32", "tf32"):
            return error
        return UsageError(f"TensorFlow cannot compute {name} in {precision} ({reason}): use --precision float32")

    def pad(self, images: tf.Tensor, rows: int) -> tf.Tensor:
        return tf.pad(images, [[0, rows], [0, 0], [0, 0], [0, 0]])

    def _forward(self, images: tf.Tensor) -> list[tf.Tensor]:
        return embed_in_graph(images, self.backbones, lambda x: self._model(x, training=False))


def _reason_of_keras(error: Exception) -> str:
    """The reason, which Keras prints bold amid where it came up and with what."""
    bold = re.search("\x1b\\[1m(.*?)\x1b\\[0m", str(error), re.DOTALL)
    return bold[1] if bold else last_line(error)


def _gains_by_whole_batches(model: keras.Model) -> bool:
    """Of a network whose variables are not frozen, on a CPU: in half of float32's bits two whole batches have the memory of one.

    Its variables are cast in each pass, which costs less an image in larger batches. But what moves more memory than it computes, as
    normalisations and depthwise convolutions do, is slower there. Images/s in bfloat16 with 32 a pass and with 16: InceptionV3 249, 199;
    ResNet50 188, 170; ResNet101 113, 100; VGG16 (10 and 5) 76, 68; InceptionResNetV2 61, 62; Xception 68, 71; ResNet50V2 79, 85;
    ConvNeXt-Tiny 19.0, 20.5; DenseNet201 28, 31. In float32 ResNet50 has 39 with both.
    """
    casts = any(layer.compute_dtype != layer.variable_dtype for layer in model.layers)
    return casts and not any(isinstance(layer, _MOVES_MEMORY) for layer in model.layers)
