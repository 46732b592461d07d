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
    config = model.get_config()
    names = {layer["name"]: f"{layer['class_name'].lower()}_{i}" for i, layer in enumerate(config["layers"])}
    layers = [
        {
            "name": names[layer["name"]],
            "class": layer["class_name"],
            "config": _relevant({k: v for k, v in layer["config"].items() if k != "name"}),
            "inputs": _renamed(_relevant(layer["inbound_nodes"]), names),
        }
        for layer in config["layers"]
    ]
    return {"layers": layers, "outputs": _renamed(config["output_layers"], names)}


def graph_digest(model: keras.Model) -> str:
    """Hex sha256 of the canonical graph's JSON."""
    return hashlib.sha256(json.dumps(canonical_graph(model), sort_keys=True).encode()).hexdigest()


def output_layer_name(model: keras.Model) -> str:
    """Canonical name of the layer that the model ends in."""
    return str(canonical_graph(model)["layers"][-1]["name"])


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
