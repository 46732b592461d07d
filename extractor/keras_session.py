"""Keras' global state, made the same before every build: settings, counters of automatic names, values of weights."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras

_building_without_values = ContextVar("_building_without_values", default=False)


def fresh_session() -> None:
    """Pin what ~/.keras/keras.json or the program may have changed, and let automatic layer names count from the start again.

    The settings would change values or graph behind the recipe. The names (`conv2d_17` of InceptionV3) would otherwise depend on what
    else was built in this process, and `--layer` could not go by them.
    """
    keras.utils.clear_session(free_memory=False)
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)


@contextmanager
def without_values() -> Iterator[None]:
    """Networks built inside have layers, shapes and configuration, but no values: 350 million parameters take a second and no memory.

    Python's random state is as before afterwards, because Keras draws the seeds of initialisers from it. A fresh session at the end
    makes Keras forget the variables that it would give values at the next occasion. May be nested.
    """
    if _building_without_values.get():
        yield
        return
    state = random.getstate()
    fresh_session()
    token = _building_without_values.set(True)
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        _building_without_values.reset(token)
        random.setstate(state)
        fresh_session()
