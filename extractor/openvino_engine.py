"""The frozen network in OpenVINO: for CPUs. Needs TensorFlow too, whose graph it converts."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from extractor.backbones import Backbone
from extractor.batch_size import plan_batch_size
from extractor.depthwise import with_depthwise
from extractor.device import usable_cores
from extractor.engine import IN_FLIGHT, BatchEngine, OutOfMemoryError, embed_in_graph, joint_network
from extractor.kept_in_float32 import with_kept
from extractor.last_words import last_line
from extractor.quantized_network import quantize, read_quantized
from extractor.quiet_openvino import openvino
from storage.errors import UsageError

# https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/precision-control.html
PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}  # what is not quantized in a quantized network is float32
# What it raises of a network that it cannot convert: they have no base of their own.
_FAILURES = (
    openvino.frontend.GeneralFailure,
    openvino.frontend.InitializationFailure,
    openvino.frontend.NotImplementedFailure,
    openvino.frontend.OpConversionFailure,
    openvino.frontend.OpValidationFailure,
)


class OpenVinoEngine(BatchEngine):
    """One stream of one thread a core, as OpenVINO is fastest; a batch is shared among them.

    On two cores ResNet50 takes 18 images/s in float32 and 36 in bfloat16 this way, 14 and 25 with one stream of two threads.
    In bfloat16 depthwise convolutions stay float32, as with the other engines.
    """

    def __init__(
        self,
        backbone: Backbone,
        batch_size: int | None = None,
        further: Sequence[Backbone] = (),
        threads: int | None = None,
        quantized: bytes | None = None,
    ) -> None:
        """further: other cuts of the same network. quantized: that of an int8 space (`extractor.quantized_network`), in place of its own.

        Raises UsageError for a precision that this engine, or this CPU, does not have, and for a network that OpenVINO cannot convert.
        """
        self._core = openvino.Core()
        self._precision = self._usable(backbone.recipe.precision)
        self._threads = threads or usable_cores()
        backbones = (backbone, *further)
        self._model = with_depthwise(joint_network(backbones))
        self._quantized = read_quantized(self._core, quantized) if quantized else None
        planned = batch_size or plan_batch_size(backbones, on_gpu=False)
        super().__init__(backbones, planned)

    def _usable(self, precision: str) -> str:
        if precision not in PRECISIONS:
            raise UsageError(f"the openvino engine computes in {' or '.join(PRECISIONS)}, not in {precision}: choose another engine")
        if precision == "bfloat16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UsageError("this CPU has no bfloat16: use --precision float32, or a machine that has it")
        return PRECISIONS[precision]

    def whole(self, batch_size: int) -> int:
        """One that the streams can share.

        MobileNetV2 on two cores, in turn: 286 images/s in batches of 24, 261 in batches of 25, which one stream has to take; where others
        use the cores as well, 31 and 18.
        """
        return batch_size // self._threads * self._threads or batch_size

    def compile(self, batch_size: int) -> list[tuple[int, ...]]:
        shapes: list[tuple[int, ...]] = _or_out_of_memory(lambda: self._compile(batch_size))
        return shapes

    def _compile(self, batch_size: int) -> list[tuple[int, ...]]:
        self._parts = self._threads if batch_size % self._threads == 0 else 1
        model, shapes, names = self._graph(batch_size // self._parts)
        options = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": str(self._parts),
            "INFERENCE_NUM_THREADS": self._threads,
            # Each process binds its threads to the first cores otherwise: two workers of one thread each took 390 MobileNetV2 images/s
            # side by side so, and 880 with this; one of two threads takes as many either way.
            "ENABLE_CPU_PINNING": "NO",
        }
        compiled = self._core.compile_model(model, "CPU", options)
        # The converted model need not keep the order of outputs, only their names.
        self._outputs = [next(i for i, port in enumerate(compiled.outputs) if name in port.names) for name in names]
        self._free = deque(compiled.create_infer_request() for _ in range(IN_FLIGHT * self._parts))
        return shapes

    def _graph(self, images: int | None) -> tuple[Any, list[tuple[int, ...]], list[str]]:
        """The model for so many images at once, None for any number; shapes and names of its outputs."""
        if self._quantized:
            model = self._quantized.clone()
            model.reshape([images, self.input_size, self.input_size, 3])
            return model, [tuple(port.shape)[1:] for port in model.outputs], [port.any_name for port in model.outputs]
        signature = tf.TensorSpec((images, self.input_size, self.input_size, 3), tf.uint8)
        traced = tf.function(self._forward, input_signature=[signature], autograph=False).get_concrete_function()
        shapes = [tuple(output.shape[1:]) for output in traced.outputs]
        names = [output.name for output in traced.outputs]
        model = _with_outputs(_converted(traced), names)
        if self._precision == "bf16":
            model = with_kept(model, self._core)
        return model, shapes, names

    def quantized(self, images: npt.NDArray[np.uint8], digests: Sequence[bytes]) -> bytes:
        """The network calibrated on uint8 [n, S, S, 3] with their content digests, in int8."""
        return quantize(self._graph(None)[0], images, digests)

    def start(self, images: Any) -> Any:
        started = []
        for part in np.split(np.asarray(images), self._parts):
            request = self._free.popleft()
            _or_out_of_memory(lambda: request.start_async([part]))  # noqa: B023 - called in this round
            started.append(request)
        return started

    def finish(self, pending: Any) -> list[npt.NDArray[np.generic]]:
        for request in pending:
            _or_out_of_memory(request.wait)
        self._free.extend(pending)
        return [np.concatenate([request.get_output_tensor(i).data for request in pending]) for i in self._outputs]

    def pad(self, images: Any, rows: int) -> npt.NDArray[np.uint8]:
        return np.pad(np.asarray(images), [(0, rows), (0, 0), (0, 0), (0, 0)])

    def _forward(self, images: tf.Tensor) -> list[tf.Tensor]:
        return embed_in_graph(images, self.backbones, lambda x: self._model(x, training=False))


def _converted(traced: Any) -> Any:
    try:
        with _root_logger_kept():
            return openvino.convert_model(traced)
    except _FAILURES as error:
        summary = str(error).partition("Summary:\n")[2]
        reasons = [line.removeprefix("-- ") for line in summary.splitlines() if line.startswith("-- ")] or [last_line(error)]
        raise UsageError(
            f"OpenVINO cannot convert this network ({'; '.join(reasons)}): use --engine tensorflow (which does not compute in int8)"
        ) from None


def _with_outputs(model: Any, names: Sequence[str]) -> Any:
    """The model with the outputs of these names alone: attention leaves shapes as outputs of their own when it is converted.

    Two outputs of the same features have both names each.
    """
    for port in model.outputs:
        if port.names.isdisjoint(names):
            model.remove_result(port.get_node())
    return model


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    """convert_model sets it to errors alone, and puts it back only where nothing fails: the run's own notes were silent from then on."""
    root = logging.getLogger()
    level, filters, handlers = root.level, root.filters[:], root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def _or_out_of_memory(call: Any) -> Any:
    try:
        return call()
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "alloc" in str(error):
            raise OutOfMemoryError("openvino: not enough memory") from error
        raise
