"""Signs of life of a run, from a thread of the driver; its ear for `permafrost runs cancel`; and the record of how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from storage.errors import DiskFullError, PermafrostError, RunCancelledError
from storage.process import this_process
from storage.runs import RunFolder

BEAT_SECONDS = 5.0


class Heartbeat:
    """`start` begins the beats. As a context manager it stops them at the end and, if that is an error, records it.

    folders: of the run, one in each of its sets.
    progress: where the work stands in the set of this number, as a dict that is written into each beat. Called in the beating thread.
    """

    def __init__(self, folders: Sequence[RunFolder], progress: Callable[[int], dict[str, Any]]) -> None:
        self._folders, self._progress = folders, progress
        self._fixed = {**asdict(this_process()), "run_started": datetime.now(UTC).isoformat(timespec="seconds")}
        self._beats = 0
        self._cancelled, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="permafrost-heartbeat", daemon=True)

    def start(self) -> None:
        self._beat()
        self._thread.start()

    def check(self) -> None:
        """Raise RunCancelledError if somebody asked the run to stop."""
        if self._cancelled.is_set():
            raise RunCancelledError("cancelled by `permafrost runs cancel`; what was finished is kept, run the same command again to go on")

    def __enter__(self) -> Heartbeat:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._beats:
            return
        self._stop.set()
        self._thread.join(BEAT_SECONDS)  # no longer: it may hang on a network folder that is gone
        if error:
            self._beats += 1
            for number, folder in enumerate(self._folders):  # each set may be on a disk of its own
                with suppress(OSError, DiskFullError):  # a full disk may be what ended the run: that error is the one to tell
                    self._beat_in(number, folder)
                with suppress(OSError, DiskFullError):
                    folder.write_end(*_end_of(error))

    def _go_on(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with suppress(OSError, DiskFullError):  # the next beat may succeed; until then the run counts as silent, which it is
                if any(folder.cancel_requested for folder in self._folders):
                    self._cancelled.set()
                self._beat()

    def _beat(self) -> None:
        self._beats += 1
        for number, folder in enumerate(self._folders):
            self._beat_in(number, folder)

    def _beat_in(self, number: int, folder: RunFolder) -> None:
        time = datetime.now(UTC).isoformat(timespec="seconds")
        folder.write_heartbeat({**self._fixed, **self._progress(number), "beat": self._beats, "time": time})


def _end_of(error: BaseException) -> tuple[str, str]:
    if isinstance(error, RunCancelledError):
        return "cancelled", "by `permafrost runs cancel`"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "by Ctrl-C or a signal"
    return "failed", str(error) if isinstance(error, PermafrostError) else f"{type(error).__name__}: {error}"
