"""The formats of exported models: how each is written, and how its own serving library answers, which is what parity is tested on.

`PIXELS` is uint8 images, `IMAGE_BYTES` encoded ones; `PROBABILITIES` [N, C] is what all of them answer. N images, C classes.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from extractor.encoded_in_graph import decode_batch
from extractor.image_model import PIXELS, resizing
from scripts.export_model import PROBABILITIES, ExportedModel

IMAGE_BYTES = "image_bytes"  # TensorFlow Serving's REST interface takes base64 for names that end in _bytes
# The newest that tf2onnx 1.17 knows; ONNX Runtime reads it since 1.14 (its table of versions: onnxruntime.ai/docs/reference/compatibility).
OPSET = 18

Probabilities = npt.NDArray[np.float32]
Answer = Callable[[Any], Probabilities]


class Format(Protocol):
    any_size: bool  # whether PIXELS may have any size, and are resized by the image policy

    def write(self, exported: ExportedModel, folder: Path) -> None:
        """Write the model's files into an empty folder."""
        ...

    def load(self, folder: Path) -> dict[str, Answer]:
        """How the model answers in its serving library, by the name of the input."""
        ...


class KerasFile:
    """`model.keras`, of stock layers and operations only, so that Keras loads it in safe mode."""

    any_size = True
    file = "model.keras"

    def write(self, exported: ExportedModel, folder: Path) -> None:
        resizing(exported.model, exported.kind.policy).save(folder / self.file)

    def load(self, folder: Path) -> dict[str, Answer]:
        model = keras.saving.load_model(folder / self.file, compile=False, safe_mode=True)
        return {PIXELS: lambda pixels: np.asarray(model.predict_on_batch(pixels), np.float32)}


class SavedModel:
    """The folder itself. Signatures `serving_default` (IMAGE_BYTES [N]) and `pixels` (PIXELS [N, H, W, 3]).

    Beside the probabilities both give `classes`, string [N, C]: an image's classes in the order of its probabilities. All outputs have N
    rows, which TensorFlow Serving's REST interface wants.
    """

    any_size = True

    def write(self, exported: ExportedModel, folder: Path) -> None:
        size, policy = exported.kind.size, exported.kind.policy
        module, whole = tf.Module(), resizing(exported.model, policy)
        module.model = whole

        def answer(probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
            classes = tf.tile(tf.constant([exported.classes]), (tf.shape(probabilities)[0], 1))
            return {PROBABILITIES: probabilities, "classes": classes}

        def of_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            return answer(exported.model(decode_batch(image_bytes, size, policy), training=False))

        def of_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            return answer(whole(pixels, training=False))

        encoded = tf.TensorSpec((None,), tf.string, name=IMAGE_BYTES)
        images = tf.TensorSpec((None, None, None, 3), tf.uint8, name=PIXELS)
        module.of_bytes = tf.function(of_bytes, input_signature=[encoded], autograph=False)
        module.of_pixels = tf.function(of_pixels, input_signature=[images], autograph=False)
        tf.saved_model.save(module, str(folder), signatures={"serving_default": module.of_bytes, PIXELS: module.of_pixels})

    def load(self, folder: Path) -> dict[str, Answer]:
        model = tf.saved_model.load(str(folder))
        of_bytes, of_pixels = model.signatures["serving_default"], model.signatures[PIXELS]
        return {
            PIXELS: lambda pixels: of_pixels(pixels=tf.constant(pixels))[PROBABILITIES].numpy(),
            IMAGE_BYTES: lambda encoded: of_bytes(image_bytes=tf.constant(encoded))[PROBABILITIES].numpy(),
        }


class Onnx:
    """`model.onnx`; the names of the classes are in its metadata, as a JSON list."""

    any_size = False
    file = "model.onnx"

    def write(self, exported: ExportedModel, folder: Path) -> None:
        import onnx
        import tf2onnx

        logging.getLogger("tf2onnx").setLevel(logging.ERROR)
        function = _frozen(exported)
        model, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
        onnx.helper.set_model_props(model, {"classes": json.dumps(exported.classes, ensure_ascii=False)})
        onnx.save(model, folder / self.file)

    def load(self, folder: Path) -> dict[str, Answer]:
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / self.file, providers=["CPUExecutionProvider"])
        return {PIXELS: lambda pixels: session.run([PROBABILITIES], {PIXELS: pixels})[0]}


class LiteRt:
    """`model.tflite` with the signature `pixels`, of LiteRT's own operations only."""

    any_size = False
    file = "model.tflite"

    def write(self, exported: ExportedModel, folder: Path) -> None:
        # By way of a SavedModel, as that names the signature. Frozen before: the converter (TensorFlow 2.21) keeps the variables of a
        # Keras model as variables, which LiteRT then reads without values, and answers NaN.
        module = tf.Module()
        module.pixels = _frozen(exported)
        with tempfile.TemporaryDirectory() as saved:
            tf.saved_model.save(module, saved, signatures={PIXELS: module.pixels})
            converted = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=[PIXELS]).convert()
        (folder / self.file).write_bytes(converted)

    def load(self, folder: Path) -> dict[str, Answer]:
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(model_path=str(folder / self.file)).get_signature_runner(PIXELS)
        return {PIXELS: lambda pixels: runner(pixels=pixels)[PROBABILITIES]}


FORMATS: dict[str, Format] = {"keras": KerasFile(), "savedmodel": SavedModel(), "onnx": Onnx(), "litert": LiteRt()}


def _frozen(exported: ExportedModel) -> tf.types.experimental.PolymorphicFunction:
    """The model with its weights as constants, from PIXELS [N, size, size, 3] to {PROBABILITIES: [N, C]}."""
    signature = [tf.TensorSpec((None, exported.kind.size, exported.kind.size, 3), tf.uint8, name=PIXELS)]
    traced = tf.function(lambda pixels: exported.model(pixels, training=False), input_signature=signature, autograph=False)
    constant = convert_variables_to_constants_v2(traced.get_concrete_function())
    return tf.function(lambda pixels: {PROBABILITIES: constant(pixels)[0]}, input_signature=signature, autograph=False)
