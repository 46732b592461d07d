"""What OpenVINO leaves in float32 of a network that it computes in bfloat16: depthwise convolutions, with their biases and activations."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from extractor.quiet_openvino import openvino

DEPTHWISE = "GroupConvolution"
FUSED = 2  # operations behind a convolution that are computed with it: bias and activation
# How OpenVINO writes and reads that an operation is not to have fewer bits (transformations/rt_info/disable_fp16_compression.hpp);
# from Python the attribute can be had in no other way.
ATTRIBUTE = {"name": "precise", "version": "0"}


def with_kept(model: Any, core: Any) -> Any:
    """The model marked so; itself where there is nothing to keep.

    So bfloat16 of OpenVINO and of TensorFlow agree: cosine 0.9999 at the least of 64 photographs with MobileNetV2, MobileNetV2 0.35 and
    MobileNet 0.75 and real weights, where they had 0.9929, 0.9735 and 0.9958. Images a CPU second on two cores: 134, 486 and 170; with
    everything in bfloat16 201, 828 and 236, in float32 100, 393 and 112. Convolutions kept without what is fused with them are slower
    (93 for 130). The first convolution and sums of branches gain nothing (docs/benchmarks.md).
    """
    names = {each.get_friendly_name() for each in model.get_ops() if each.get_type_name() == DEPTHWISE for each in _fused(each)}
    if not names:
        return model
    with tempfile.TemporaryDirectory() as folder:
        graph, weights = Path(folder) / "network.xml", Path(folder) / "network.bin"
        openvino.serialize(model, graph, weights)
        tree = ElementTree.parse(graph)
        for layer in tree.iter("layer"):
            if layer.get("name") in names:
                info = layer.find("rt_info")
                ElementTree.SubElement(ElementTree.SubElement(layer, "rt_info") if info is None else info, "attribute", ATTRIBUTE)
        return core.read_model(ElementTree.tostring(tree.getroot()), weights.read_bytes())


def _fused(operation: Any) -> list[Any]:
    """An operation and what is computed with it."""
    found = [operation]
    while len(found) <= FUSED:
        behind = [port.get_node() for port in found[-1].output(0).get_target_inputs()]
        if len(behind) != 1 or behind[0].get_type_name() in (DEPTHWISE, "Convolution", "Result"):
            break
        found += behind
    return found
