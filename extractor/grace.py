"""SIGTERM to the driver: no unit is begun any more, those under way may end within a time of grace, and the run ends as by Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """A signal handler that raises KeyboardInterrupt, as Python's own does, and remembers it: raised where a library has called Python, it
    may come out of there as another error, such as TypeError of a callback that gave nothing."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        raise KeyboardInterrupt


class Grace:
    """As a context manager it takes SIGTERM over, in the main thread, from Python's handlers or `Interrupts`; a program's own stays.

    `on_leave`: called in the signal handler, so it must wait for nothing. A second SIGTERM ends the run at once.
    """

    def __init__(self, seconds: float, on_leave: Callable[[], None]) -> None:
        self._seconds, self._on_leave = seconds, on_leave
        self._end: float | None = None
        self._before: Any = None

    @property
    def leaving(self) -> bool:
        return self._end is not None

    def check(self) -> None:
        """Raise KeyboardInterrupt when the time is up."""
        if self._end is not None and time.monotonic() > self._end:
            raise KeyboardInterrupt

    def __enter__(self) -> Grace:
        current = signal.getsignal(signal.SIGTERM)
        is_own = current in (signal.SIG_DFL, signal.default_int_handler) or isinstance(current, Interrupts)
        if threading.current_thread() is threading.main_thread() and is_own:
            self._before = signal.signal(signal.SIGTERM, self._leave)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _leave(self, number: int, frame: FrameType | None) -> None:
        if self.leaving or not self._seconds:
            raise KeyboardInterrupt
        self._end = time.monotonic() + self._seconds
        self._on_leave()
