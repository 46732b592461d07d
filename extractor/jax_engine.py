"""The frozen network compiled by XLA through JAX: for GPUs, and for machines without TensorFlow. Needs KERAS_BACKEND=jax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import keras
import numpy as np
import numpy.typing as npt

from extractor.backbones import Backbone
from extractor.batch_size import plan_batch_size
from extractor.compute_precision import in_precision
from extractor.engine import BatchEngine, OutOfMemoryError, embed_in_graph, joint_network
from extractor.folding import folded
from extractor.last_words import last_line
from storage.errors import UsageError

# XLA computes float32 convolutions and products on recent GPUs in TF32 unless it is told otherwise
# (https://docs.jax.dev/en/latest/201/precision.html); precision float32 means float32.
FULL_FLOAT32 = "highest"


def float32_products(precision: str) -> str:
    """How float32 is multiplied in a precision, as JAX names it."""
    return "tensorfloat32" if precision == "tf32" else FULL_FLOAT32


class JaxEngine(BatchEngine):
    """Preprocessing, network and pooling in one compiled function; uint8 images go to the device, the weights stay there as arguments.

    BatchNormalization is folded, as in the other engines: bfloat16 then rounds where theirs does. Cosine to TensorFlow's features, least
    and median of 64 photographs with real weights: MobileNetV2 0.35 0.9983 and 0.9997 (left to XLA 0.9783 and 0.9943), MobileNetV2 0.9993
    and 0.9997 (0.9983 and 0.9991), MobileNet 0.75 0.9983 and 0.9994 (0.9961 and 0.9984). Images a CPU second are the same within noise.

    ResNet50 in bfloat16, batches of 256, on an H100, not folded yet: 22,900 images/s from the device's memory, 24,300 with the weights
    compiled in, which costs memory and compilation.
    """

    def __init__(
        self,
        backbone: Backbone,
        batch_size: int | None = None,
        further: Sequence[Backbone] = (),
        device: jax.Device | None = None,
    ) -> None:
        """further: other cuts of the same network (`backbones.build_together`). device: the first one that JAX lists if None.

        Raises UsageError for a network that JAX does not have in this precision here.
        """
        device = device or jax.devices()[0]
        backbones = (backbone, *further)
        self.network = JaxNetwork(backbones, device)
        super().__init__(backbones, batch_size or plan_batch_size(backbones, device.platform != "cpu"))

    def compile(self, batch_size: int) -> list[tuple[int, ...]]:
        lowered, self.compiled = self._compiled(batch_size)
        return [tuple(output.shape[1:]) for output in lowered.out_info]

    def _compiled(self, batch_size: int) -> tuple[Any, Any]:
        """What is lowered, and what is compiled of it."""
        try:
            lowered = self.network.lower(batch_size)
            return lowered, _or_out_of_memory(lowered.compile)
        except (ValueError, NotImplementedError) as error:  # float16 products with float32 sums on a CPU, as attention has, are such
            precision = self.backbones[0].recipe.precision
            finer = (
                "" if precision in ("float32", "tf32") else ", or --precision " + ("bfloat16 or " * (precision == "float16")) + "float32"
            )
            raise UsageError(
                f"JAX cannot compute this network in {precision} here ({last_line(error)}): use --engine tensorflow{finer}"
            ) from None

    def start(self, images: npt.NDArray[np.uint8]) -> Any:
        """images: an array of NumPy, a tensor on the CPU, or a JAX array on the device."""
        pixels = images if isinstance(images, jax.Array) else np.asarray(images)
        return _or_out_of_memory(lambda: self.compiled(self.network.weights, pixels))

    def finish(self, pending: Any) -> list[npt.NDArray[np.generic]]:
        return _or_out_of_memory(lambda: jax.device_get(pending))  # type: ignore[no-any-return]

    def pad(self, images: npt.NDArray[np.uint8], rows: int) -> npt.NDArray[np.uint8]:
        return np.pad(np.asarray(images), [(0, rows), (0, 0), (0, 0), (0, 0)])


class JaxNetwork:
    """The network before it is compiled: `weights` on the device, and the function of them and of the images."""

    def __init__(self, backbones: Sequence[Backbone], device: jax.Device, model: keras.Model | None = None) -> None:
        """model: None, or what a benchmark wants to run in the place of the backbones' own network."""
        self._backbones = backbones
        self._model = model or in_precision(folded(joint_network(backbones)), backbones[0].recipe.precision)
        variables = (self._model.trainable_variables, self._model.non_trainable_variables)
        self.weights = jax.device_put([[variable.value for variable in each] for each in variables], device)

    def lower(self, batch_size: int) -> Any:
        """A `jax.stages.Lowered` of `__call__` for batches of this size."""
        size = self._backbones[0].recipe.input_size
        images = jax.ShapeDtypeStruct((batch_size, size, size, 3), np.uint8)
        with jax.default_matmul_precision(float32_products(self._backbones[0].recipe.precision)):
            return jax.jit(self.__call__).lower(self.weights, images)

    def __call__(self, weights: Any, images: Any) -> list[Any]:
        """Embeddings of uint8 [n, size, size, 3], float32 [n, *shape] of each cut; to be traced."""
        return embed_in_graph(images, self._backbones, lambda x: self._model.stateless_call(*weights, x, training=False)[0])


# The second is a CPU's: its kernels have one word for all that fails while they run, which is to get memory, and say so on stderr alone.
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "YNNPACK operation failed")


def _or_out_of_memory(call: Any) -> Any:
    try:
        return call()
    except jax.errors.JaxRuntimeError as error:
        if any(words in str(error) for words in _OUT_OF_MEMORY):
            raise OutOfMemoryError(str(error).splitlines()[0]) from error
        raise
