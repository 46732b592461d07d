"""An engine by its name, imported only when it is used, and the device that it computes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import tensorflow as tf

from extractor.engine_choice import INT8, EngineChoice, require_installed

if TYPE_CHECKING:
    from extractor.backbones import Backbone
    from extractor.engine import BatchEngine


def make_engine(choice: EngineChoice, backbones: Sequence[Backbone], threads: int) -> BatchEngine:
    """backbones: cuts of one network. threads: CPU cores of this worker. Raises UsageError for an engine that cannot be had here."""
    require_installed(choice.name)
    if backbones[0].recipe.precision == INT8 and choice.quantized is None:  # until the network is calibrated, float32 stands in for it
        backbones = [replace(each, recipe=replace(each.recipe, precision="float32")) for each in backbones]
    first, *further = backbones
    if choice.name == "openvino":
        from extractor.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(first, choice.batch_size, further, threads, choice.quantized)
    if choice.name == "jax":
        from extractor.jax_engine import JaxEngine

        return JaxEngine(first, choice.batch_size, further)
    if choice.name == "xla":
        from extractor.xla_engine import XlaEngine

        return XlaEngine(first, choice.batch_size, further)
    from extractor.tensorflow_engine import TensorFlowEngine

    return TensorFlowEngine(first, choice.batch_size, further)


def device_of(name: str) -> str:
    """The name of the GPU that an engine uses here, or CPU."""
    if name == "jax":
        import jax

        device = jax.devices()[0]
        return "CPU" if device.platform == "cpu" else str(device.device_kind)
    if name == "openvino" or not tf.config.list_logical_devices("GPU"):
        return "CPU"
    return str(tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])["device_name"])
