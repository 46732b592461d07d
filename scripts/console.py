"""How commands talk: results on stdout (a table, or one JSON document), progress and warnings on stderr."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from extractor.lean_imports import keeping_all
from storage.sizes import human_bytes as human_bytes
from storage.sizes import human_seconds as human_seconds

PLAIN_SECONDS = 5.0  # between two lines of progress where there is no terminal


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """Name and value, aligned, one pair a line."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f"{name:<{width}}  {value}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """A plain table; columns of numbers are right-aligned. Wide enough for its content where stdout is no terminal."""
    table = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[i], (int, float)) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row])
    width = None if sys.stdout.isatty() else 200
    Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False).print(table)


def warn(message: str) -> None:
    print(f"permafrost: note: {message}", file=sys.stderr, flush=True)


def visible(text: str) -> str:
    """Names from outside for a terminal: control characters, which could command it, and others that cannot be seen are written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(count: int, thing: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{count} {thing}{'s' * (count != 1)}"


def counts_text(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items())


def share(text: str) -> float:
    """'1%' or '0.01' to 0.01; nothing below 0 or above 1."""
    try:
        value = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0% to 100%, such as 1% or 0.01; got {text!r}")
    return value


class ShowProgress(Protocol):
    def __call__(self, done: int, total: int) -> None: ...

    def begin(self, what: str) -> None:
        """What comes before the work that is counted."""


@contextmanager
def progress(what: str, first: str | None = "starting workers") -> Iterator[ShowProgress]:
    """A bar with rate and time left on a terminal; elsewhere a line every few seconds, and one at the end.

    first: what comes before; None: nothing is shown before the first call, or `begin`, so that what is refused until then is all that is
    said.
    """
    if sys.stderr.isatty():
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn())
        bar = RichProgress(*columns, TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True))
        with ExitStack() as stack:
            yield _begun(_Bar(stack, bar, what), first)
    else:
        yield _begun(_Lines(what), first)


def _begun(show: ShowProgress, first: str | None) -> ShowProgress:
    if first:
        show.begin(first)
    return show


class _Bar:
    def __init__(self, stack: ExitStack, bar: RichProgress, what: str) -> None:
        self._stack, self._bar, self._clock, self._is_shown = stack, bar, _Clock(), False
        self._task = bar.add_task(what, total=None, rate=None)

    def begin(self, what: str) -> None:
        self._bar.update(self._task, rate=what)
        self._show()

    def __call__(self, done: int, total: int) -> None:
        self._show()
        self._bar.update(self._task, completed=done, total=total, rate=_told(self._clock.rate(done)))

    def _show(self) -> None:
        if not self._is_shown:
            self._stack.enter_context(self._bar)
            self._is_shown = True


class _Lines:
    def __init__(self, what: str) -> None:
        self._what, self._clock, self._last, self._is_shown = what, _Clock(), 0.0, False

    def begin(self, what: str) -> None:
        self._show(what)

    def __call__(self, done: int, total: int) -> None:
        if not self._is_shown:
            self._show(f"{done} of {total}")
        rate, now = self._clock.rate(done), time.monotonic()
        if not done or (done < total and (not rate or now - self._last < PLAIN_SECONDS)):
            return
        self._last = now
        left = f", {(total - done) / rate:.0f} s left" if done < total else ""
        self._show(f"{done} of {total}{f', {_told(rate)}' if rate else ''}{left}")

    def _show(self, text: str) -> None:
        print(f"{self._what}: {text}", file=sys.stderr, flush=True)
        self._is_shown = True


def _told(rate: float) -> str:
    """By the second, or by the minute what takes longer than one."""
    return f"{rate:.0f}/s" if rate >= 1 else f"{60 * rate:.2g}/min"


class _Clock:
    """Rate since the first call, which comes when the work starts: starting the workers is no part of it, nor is what was done before."""

    def __init__(self) -> None:
        self._started: float | None = None
        self._before = 0

    def rate(self, done: int) -> float:
        now = time.monotonic()
        if self._started is None:
            self._started, self._before = now, done
        return (done - self._before) / max(1e-3, now - self._started)


@contextmanager
def quiet_native() -> Iterator[None]:
    """Keep what native libraries print to stderr (no variable turns it off) away from the user, as while TensorFlow is imported.

    If what is done inside fails, everything is shown after all.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            captured.seek(0)
            os.write(kept, captured.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def import_tensorflow(backend: str = "tensorflow", on_gpu: bool = True) -> None:
    """Import TensorFlow and Keras without banners and without its advice on retracing, which is about the many small fits of one command.

    backend: of Keras. On another one, TensorFlow only decodes, and leaves GPUs alone. on_gpu: False where they are in use by others.
    """
    os.environ["KERAS_BACKEND"] = backend  # this process is ours, whatever the user's other work needs
    with quiet_native(), keeping_all():
        import pyarrow  # noqa: F401 - before TensorFlow: the other order has crashed on some builds of both
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        if backend != "tensorflow" or not on_gpu:
            tf.config.set_visible_devices([], "GPU")
        tf.config.list_logical_devices()  # looks for GPUs, and complains where there are none

        import keras  # noqa: F401 - all who call this need it
