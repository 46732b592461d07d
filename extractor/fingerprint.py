"""Digests of a Keras graph and of its weights: the parts of a feature space that only the built network can tell."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import keras
import numpy as np

# None of these moves an output value in inference: how weights were initialised, regularised or serialised, and Keras' bookkeeping.
_IRRELEVANT_SUFFIXES = ("_initializer", "_regularizer", "_constraint")
_IRRELEVANT_KEYS = frozenset(
    {"trainable", "build_config", "compile_config", "registered_name", "shared_object_id", "module", "seed", "optional", "sparse", "ragged"}
)


def canonical_graph(model: keras.Model) -> dict[str, Any]:
    """A functional model's layers and connections, with layers named by class and position.

    Keras' automatic names count what else was built before in the process (`conv2d_57`), so they cannot be part of an identity.
    """
    return _canonical(model.get_config())


def _canonical(config: dict[str, Any]) -> dict[str, Any]:
    names = {layer["config"]["name"]: f"{layer['class_name'].lower()}_{i}" for i, layer in enumerate(config["layers"])}
    layers = [
        {
            "name": names[layer["config"]["name"]],
            "class": _class_of(layer),
            "config": _relevant({k: v for k, v in layer["config"].items() if k != "name"}),
            "inputs": _renamed(_relevant(layer.get("inbound_nodes", [])), names),
        }
        for layer in config["layers"]
    ]
    return {"layers": layers, "outputs": _renamed(config.get("output_layers", []), names)}


def _class_of(layer: dict[str, Any]) -> str:
    """Keras' own classes go by their name; any other, such as KerasHub's, by the one it is registered under, package and all."""
    return str(layer.get("registered_name") or layer["class_name"])


def graph_digest(model: keras.Model) -> str:
    """Hex sha256 of the canonical graph's JSON."""
    return graph_and_end(model)[0]


def graph_and_end(model: keras.Model) -> tuple[str, str]:
    """That digest, and the canonical name of the layer that the model ends in, from one config: Keras takes long to make it."""
    graph = canonical_graph(model)
    return hashlib.sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest(), str(graph["layers"][-1]["name"])


def weights_digest(model: keras.Model) -> str:
    """Hex sha256 over shape, dtype and little-endian bytes of every weight tensor, in graph order."""
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{value.shape}{value.dtype}".encode())
        digest.update(value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def _relevant(value: Any) -> Any:
    if isinstance(value, dict):
        if "layers" in value and all(isinstance(layer, dict) and "config" in layer for layer in value["layers"]):
            return _canonical(value)  # a model inside the model
        if "name" in value and "trainable" in value:
            value = {k: v for k, v in value.items() if k != "name"}  # a layer inside a layer
        return {k: _relevant(v) for k, v in value.items() if k not in _IRRELEVANT_KEYS and not k.endswith(_IRRELEVANT_SUFFIXES)}
    if isinstance(value, (list, tuple)):
        return [_relevant(item) for item in value]
    return value


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {k: _renamed(v, names) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_renamed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value
