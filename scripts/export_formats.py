"""The formats of exported models: how each is written, and how its own serving library answers, which is what parity is tested on.

`PIXELS` is uint8 images, `IMAGE_BYTES` encoded ones; `PROBABILITIES` [N, C] is what all of them answer. N images, C classes.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from extractor.encoded_in_graph import decode_batch
from extractor.image_model import PIXELS, resizing
from extractor.image_policy_table import IMAGE_POLICIES
from extractor.jpeg_in_graph import resize
from scripts.export_model import PROBABILITIES, ExportedModel

IMAGE_BYTES = "image_bytes"  # TensorFlow Serving's REST interface takes base64 for names that end in _bytes
# The newest that tf2onnx 1.17 knows; ONNX Runtime reads it since 1.14 (its table of versions: onnxruntime.ai/docs/reference/compatibility).
OPSET = 18

DECODE = "decode"

Probabilities = npt.NDArray[np.float32]
Answer = Callable[[Any], npt.NDArray[Any]]


class Format(Protocol):
    any_size: bool  # whether PIXELS may have any size, and are resized by the image policy
    libraries: tuple[str, ...]  # that wrote it, beside TensorFlow and Keras

    def write(self, exported: ExportedModel, folder: Path) -> None:
        """Write the model's files into an empty folder."""
        ...

    def load(self, folder: Path) -> dict[str, Answer]:
        """How the model answers in its serving library, by the name of the input."""
        ...


class KerasFile:
    """`model.keras`, of stock layers and operations only, so that Keras loads it in safe mode."""

    any_size = True
    libraries: tuple[str, ...] = ()
    file = "model.keras"

    def write(self, exported: ExportedModel, folder: Path) -> None:
        resizing(exported.model, exported.kind.policy).save(folder / self.file)

    def load(self, folder: Path) -> dict[str, Answer]:
        model = keras.saving.load_model(folder / self.file, compile=False, safe_mode=True)
        return {PIXELS: lambda pixels: np.asarray(model(pixels, training=False), np.float32)}  # `predict` traces for each size


class SavedModel:
    """The folder itself. Signatures `serving_default` (IMAGE_BYTES [N]), `pixels` (PIXELS [N, H, W, 3]), and `decode` from IMAGE_BYTES to
    PIXELS [N, size, size, 3], which shows what the network is given.

    Beside the probabilities the first two give `classes`, string [N, C]: an image's classes in the order of its probabilities. All outputs
    have N rows, which TensorFlow Serving's REST interface wants.
    """

    any_size = True
    libraries: tuple[str, ...] = ()

    def write(self, exported: ExportedModel, folder: Path) -> None:
        size, policy = exported.kind.size, exported.kind.policy
        module = tf.Module()
        module.model = exported.model
        encoded = tf.TensorSpec((None,), tf.string, name=IMAGE_BYTES)
        images = tf.TensorSpec((None, None, None, 3), tf.uint8, name=PIXELS)
        # Network and decoding are traced once for all signatures.
        of_size = tf.TensorSpec((None, size, size, 3), tf.uint8)
        network = tf.function(lambda pixels: exported.model(pixels, training=False), input_signature=[of_size], autograph=False)

        decoding = tf.function(lambda encoded: decode_batch(encoded, size, policy), input_signature=[encoded], autograph=False)

        def answer(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            classes = tf.tile(tf.constant([exported.classes]), (tf.shape(pixels)[0], 1))
            return {PROBABILITIES: network(pixels), "classes": classes}

        def of_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            return answer(decoding(image_bytes))

        def decode(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            return {PIXELS: decoding(image_bytes)}

        def of_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            return answer(resize(pixels, size, IMAGE_POLICIES[policy].antialias))

        signatures = {
            "serving_default": tf.function(of_bytes, input_signature=[encoded], autograph=False),
            PIXELS: tf.function(of_pixels, input_signature=[images], autograph=False),
            DECODE: tf.function(decode, input_signature=[encoded], autograph=False),
        }
        tf.saved_model.save(module, str(folder), signatures=signatures)

    def load(self, folder: Path) -> dict[str, Answer]:
        model = tf.saved_model.load(str(folder))
        of_bytes, of_pixels, decode = (model.signatures[name] for name in ("serving_default", PIXELS, DECODE))
        return {
            DECODE: lambda encoded: decode(image_bytes=tf.constant(encoded))[PIXELS].numpy(),
            PIXELS: lambda pixels: of_pixels(pixels=tf.constant(pixels))[PROBABILITIES].numpy(),
            IMAGE_BYTES: lambda encoded: of_bytes(image_bytes=tf.constant(encoded))[PROBABILITIES].numpy(),
        }


class Onnx:
    """`model.onnx`; the names of the classes are in its metadata, as a JSON list."""

    any_size = False
    libraries: tuple[str, ...] = ("onnx", "onnxruntime", "tf2onnx")
    file = "model.onnx"

    def write(self, exported: ExportedModel, folder: Path) -> None:
        import onnx
        import tf2onnx

        logging.getLogger("tf2onnx").setLevel(logging.ERROR)
        function = _frozen(exported)
        # Of Keras' exact GELU; ONNX and tf2onnx have erf alone.
        own: dict[str, tuple[Callable[..., None], list[Any]]] = {"Erfc": (_write_erfc, [])}
        model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=OPSET, custom_op_handlers=own)
        onnx.helper.set_model_props(model, {"classes": json.dumps(exported.classes, ensure_ascii=False)})
        onnx.save(model, folder / self.file)

    def load(self, folder: Path) -> dict[str, Answer]:
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / self.file, providers=["CPUExecutionProvider"])
        return {PIXELS: lambda pixels: session.run([PROBABILITIES], {PIXELS: pixels})[0]}


class LiteRt:
    """`model.tflite` with the signature `pixels`, of LiteRT's own operations only."""

    any_size = False
    libraries: tuple[str, ...] = ("ai-edge-litert",)
    file = "model.tflite"

    def write(self, exported: ExportedModel, folder: Path) -> None:
        # By way of a SavedModel, as that names the signature. Frozen before: the converter (TensorFlow 2.21) keeps the variables of a
        # Keras model as variables, which LiteRT then reads without values, and answers NaN.
        module = tf.Module()
        module.pixels = _frozen(exported)
        with tempfile.TemporaryDirectory() as saved:
            # Gradients of Keras' swish capture a variable that is a constant now, which is refused (EfficientNet). Nobody asks for them.
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
            tf.saved_model.save(module, saved, signatures={PIXELS: module.pixels}, options=options)
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


def _write_erfc(graph: Any, node: Any, name: str, _: Sequence[Any]) -> None:
    """1 - erf(x); tf2onnx' interface for operations that it does not know (README, "Custom op handlers")."""
    shape, dtype, inputs, outputs = graph.get_shape(node.output[0]), graph.get_dtype(node.output[0]), node.input[:], node.output[:]
    graph.remove_node(node.name)
    erf = graph.make_node("Erf", inputs)
    one = graph.make_const(f"{name}_one", np.array(1, np.float32))
    graph.make_node("Sub", [one.output[0], erf.output[0]], name=name, outputs=outputs, shapes=[shape], dtypes=[dtype])
