"""TensorFlow's graph of the frozen network compiled by XLA: faster on some GPUs for some networks, which `auto` measures."""

from __future__ import annotations

import re

import numpy as np
import tensorflow as tf

from extractor.tensorflow_engine import TensorFlowEngine
from storage.errors import UsageError


class XlaEngine(TensorFlowEngine):
    def compile(self, batch_size: int) -> list[tuple[int, ...]]:
        """Raises UsageError for a network that XLA cannot compile here, and OutOfMemoryError."""
        shapes = super().compile(batch_size)
        self._function = tf.function(self._function, jit_compile=True, autograph=False)
        try:  # XLA compiles in the first call, and some installations lack what it needs for GPUs (tensorflow#57055: libdevice)
            self.finish(self.start(np.zeros((batch_size, self.input_size, self.input_size, 3), np.uint8)))
        except tf.errors.OpError as error:
            name = self.backbones[0].recipe.name
            raise UsageError(f"XLA cannot compile {name} here ({_reason(error)}): use --engine tensorflow") from None
        return shapes


def _reason(error: tf.errors.OpError) -> str:
    """The operations that XLA lacks, which TensorFlow names amid graphs and nodes; else the first line, what is in Python comes later."""
    lacking = re.findall(r"(\w+) \(No registered", error.message)
    first_line = (error.message.strip() or type(error).__name__).splitlines()[0]
    return f"no operation {', '.join(dict.fromkeys(lacking))}" if lacking else first_line
