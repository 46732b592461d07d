"""A network that computes in fewer bits: its layers cast what they take in; the weights stay float32."""

from __future__ import annotations

from typing import Any

import keras


def in_precision(model: keras.Model, precision: str) -> keras.Model:
    """The network itself for "float32", else a twin of it under Keras' policy mixed_bfloat16 or mixed_float16, with the same weights.

    Under these policies a BatchNormalization still computes in float32, and sums inside a convolution are kept in float32.
    """
    if precision == "float32":
        return model
    twin = keras.Model.from_config(_under(model.get_config(), f"mixed_{precision}"))
    twin.set_weights(model.get_weights())
    twin.trainable = False
    return twin


def _under(config: Any, policy: str) -> Any:
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {**config["config"], "name": policy}}
        # The values are set afterwards; on a GPU, JAX compiles a program for each shape that it draws random ones of.
        return {key: "zeros" if key.endswith("_initializer") and value else _under(value, policy) for key, value in config.items()}
    return type(config)(_under(item, policy) for item in config) if isinstance(config, (list, tuple)) else config
