"""Cutting a network at a layer (`--layer`), and the list of the layers that it can be cut at."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import keras

from extractor.fingerprint import canonical_graph
from storage.errors import UsageError

NEAR_NAMES = 6


@dataclass(frozen=True)
class LayerInfo:
    """One place to cut: the layer's name in Keras, its canonical one, its class, and its output's shape without the batch."""

    name: str
    canonical: str
    kind: str
    shape: tuple[int | None, ...]


def layers_of(model: keras.Model) -> list[LayerInfo]:
    """All layers with one output, in the order of the graph; the input is none."""
    outputs = outputs_of(model)
    canonical = [layer["name"] for layer in canonical_graph(model)["layers"]]
    return [
        LayerInfo(operation.name, name, type(operation).__name__, tuple(outputs[operation.name][0].shape[1:]))
        for operation, name in zip(model.operations, canonical, strict=True)
        if len(outputs[operation.name]) == 1 and not isinstance(operation, keras.layers.InputLayer)
    ]


def outputs_of(model: keras.Model) -> dict[str, list[Any]]:
    """The tensors that each layer gives in this graph, by the layer's name: several where it has several outputs or uses.

    Not `layer.output`, which is the first use anywhere, and for a model inside the model an inner tensor that the image never reaches.
    """
    outputs: dict[str, list[Any]] = {}
    for node in nodes_of(model):
        outputs.setdefault(node.operation.name, []).extend(node.output_tensors)
    return outputs


def nodes_of(model: keras.Model) -> list[Any]:
    """The calls of layers that the network's outputs depend on; a layer may be called elsewhere too."""
    nodes: dict[int, Any] = {}
    waiting = list(model.outputs)
    while waiting:
        operation, index, _ = waiting.pop()._keras_history
        node = operation._inbound_nodes[index]
        if id(node) not in nodes:
            nodes[id(node)] = node
            waiting += node.input_tensors
    return list(nodes.values())


def has_layer(model: keras.Model, name: str) -> bool:
    """Whether `cut` finds a layer by that name, be it one to cut at or not."""
    return _find(model, name) is not None


def cut(model: keras.Model, name: str, backbone: str) -> keras.Model:
    """The part of the network from its input to the output of one layer, which is named as in Keras or by its canonical name.

    Raises UsageError for a name that is not there, with the near ones, and for a layer that gives no single feature.
    """
    operation = _find(model, name)
    if operation is None:
        raise unknown_layer(model, name, backbone)
    if isinstance(operation, keras.layers.InputLayer):
        raise UsageError(f"--layer {name} of {backbone} is the input itself; choose a layer behind it")
    outputs = outputs_of(model)[operation.name]
    if len(outputs) > 1:
        raise UsageError(f"--layer {name} of {backbone} has several outputs or is used several times; choose another layer")
    try:
        return keras.Model(model.inputs[0], outputs[0])
    except ValueError as error:
        raise UsageError(f"--layer {name} of {backbone} does not depend on the image: {str(error).splitlines()[0]}") from None


def unknown_layer(model: keras.Model, name: str, backbone: str) -> UsageError:
    names = [layer.name for layer in layers_of(model)]
    near = difflib.get_close_matches(name, names, NEAR_NAMES, cutoff=0.5)
    hint = f"near ones are {', '.join(near)}" if near else f"it has {len(names)} others"
    return UsageError(f"--layer {name}: no such layer of {backbone}; {hint}. `permafrost layers {backbone}` lists all")


def _find(model: keras.Model, name: str) -> Any:
    by_name = {operation.name: operation for operation in model.operations}
    if name in by_name:
        return by_name[name]
    canonical = [layer["name"] for layer in canonical_graph(model)["layers"]]
    return dict(zip(canonical, model.operations, strict=True)).get(name)
