"""Faults at the file-system calls of Python code: the process is killed, or the call fails, before or after it has done its work.

A profile function sees each call of a C function and its return, and what it raises is raised there (sys.setprofile, "c_call").
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

CALLS = frozenset(
    {"open", "close", "link", "replace", "mkdir", "unlink", "remove", "stat", "fsync", "listdir", "scandir", "truncate", "rmdir"}
)
_OF_FILES = frozenset({"write", "flush", "read", "close"})


@contextmanager
def harmed(at: int, after: bool, harm: Callable[[], None]) -> Iterator[list[str]]:
    """Let `harm` happen at call number `at`, counted from 0 over all threads that start inside; yields the names of the calls."""
    seen: list[str] = []
    lock = threading.Lock()

    def look(_: FrameType, event: str, called: Any) -> None:
        if event == ("c_return" if after else "c_call") and _is_file_call(called):
            with lock:
                seen.append(called.__name__)
                number = len(seen) - 1
            if number == at:
                harm()

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        yield seen
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(number: int) -> Callable[[], None]:
    def failing() -> None:
        raise OSError(number, os.strerror(number))

    return failing


def _is_file_call(called: Any) -> bool:
    if getattr(called, "__module__", None) in ("posix", "_io") and called.__name__ in CALLS:
        return True
    return isinstance(getattr(called, "__self__", None), io.BufferedIOBase) and called.__name__ in _OF_FILES
