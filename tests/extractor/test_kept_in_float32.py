from __future__ import annotations

from typing import Any

import keras
import pytest
import tensorflow as tf

openvino = pytest.importorskip("openvino", reason="the openvino extra is not installed")

from extractor.kept_in_float32 import with_kept  # noqa: E402


@pytest.fixture
def core() -> Any:
    core = openvino.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")
    return core


def _converted(*layers: keras.Layer) -> Any:
    network = keras.Sequential([keras.Input((16, 16, 8)), *layers])
    signature = tf.TensorSpec((1, 16, 16, 8), tf.float32)
    return openvino.convert_model(tf.function(lambda x: network(x, training=False), input_signature=[signature]).get_concrete_function())


def _precisions(model: Any, core: Any) -> dict[str, set[str]]:
    """What OpenVINO says that it computes convolutions in, by what they are."""
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    found: dict[str, set[str]] = {"depthwise": set(), "dense": set()}
    for operation in compiled.get_runtime_model().get_ops():
        told = operation.get_rt_info()
        if told["layerType"].astype(str) == "Convolution":
            kind = "depthwise" if "GroupConvolution" in told["originalLayersNames"].astype(str) else "dense"
            found[kind].add(told["runtimePrecision"].astype(str))
    return found


@pytest.mark.slow
def test_openvino_computes_depthwise_convolutions_alone_in_float32(core: Any) -> None:
    """The mark is an attribute of OpenVINO's file format: a release that no longer reads it must not pass unnoticed."""
    model = _converted(keras.layers.Conv2D(16, 1), keras.layers.DepthwiseConv2D(3, activation="relu6"), keras.layers.Conv2D(8, 1))
    assert _precisions(model, core) == {"depthwise": {"bf16"}, "dense": {"bf16"}}
    assert _precisions(with_kept(model, core), core) == {"depthwise": {"f32"}, "dense": {"bf16"}}


@pytest.mark.slow
def test_a_network_without_them_is_left_as_it_is(core: Any) -> None:
    model = _converted(keras.layers.Conv2D(16, 1))
    assert with_kept(model, core) is model
