"""Models inside a model, laid out as one graph: a cut can then be made in each of them, and the graph's digest says all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def inlined(model: keras.Model) -> keras.Model:
    """The same network with the layers of functional and sequential models in it as its own; values and weights are shared.

    Of two layers of one name the later one is called after the model that it was in. A part that was built to train (called with
    `training=True`) stays a layer.
    """
    if not any(_graph(operation) for operation in model.operations):
        return model
    inputs = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype)
    outputs = _replayed(model, inputs, {}, "")
    return keras.Model(inputs, outputs[0] if isinstance(outputs, list) else outputs)


def _replayed(model: keras.Model, inputs: Any, names: dict[str, Any], prefix: str) -> Any:
    def expanded(operation: Any) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if _graph(operation) and options.get("training") is not True:
                return _replayed(operation, args[0], names, f"{operation.name}_")
            if names.setdefault(operation.name, operation) is not operation:
                operation.name = _free(f"{prefix}{operation.name}", names)
                names[operation.name] = operation
            return operation(*args, **options)

        return call

    # Not keras.models.clone_model: built on tensors of another graph, it says that they are not connected (Keras 3.15).
    return _graph(model)._run_through_graph(inputs, operation_fn=expanded)


def _graph(operation: Any) -> Any:
    """The functional graph of a model, or None for a layer."""
    if isinstance(operation, keras.Sequential):
        return operation._functional
    return operation if isinstance(operation, keras.Model) and hasattr(operation, "_run_through_graph") else None


def _free(name: str, taken: dict[str, Any]) -> str:
    return next(candidate for i in range(len(taken) + 1) if (candidate := f"{name}_{i}" if i else name) not in taken)
