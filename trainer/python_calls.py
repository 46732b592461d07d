"""Calls of Python by the threads of tf.data, and the end of the process.

A thread that asks for the interpreter while it shuts down gets no answer, and TensorFlow waits for its threads when the last iterator is
dropped, which is later than that: a program that left a stream in its midst did not end (Python 3.11, TensorFlow 2.21). So when the
program ends, calls under way are awaited, and later ones fail at once, after which tf.data makes no more of them.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

QUIET_SECONDS = 0.2  # without a call, after which no more are expected


class _Calls:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active, self._closing, self._last = 0, False, float("-inf")
        atexit.register(self._await)

    def run(self, function: Callable[[], R]) -> R:
        with self._lock:
            self._last = time.monotonic()
            if self._closing:
                raise RuntimeError("the program ends")
            self._active += 1
        try:
            return function()
        finally:
            with self._lock:
                self._active -= 1
                self._last = time.monotonic()

    def _await(self) -> None:
        self._closing = True
        while self._active or time.monotonic() - self._last < QUIET_SECONDS:
            time.sleep(QUIET_SECONDS / 10)


_CALLS = _Calls()


def awaited_at_exit(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, whose calls the end of the program waits for."""

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return _CALLS.run(lambda: function(*args, **kwargs))

    return call
