"""Images that break whoever decodes them, as a crash in a decoder would: the marks are in the files, after the end of the image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from extractor.ray_executor import RayExecutor, _Actor

RAISE, KILL, TERM, HANG = (b"permafrost-test-" + word for word in (b"raise", b"kill", b"term", b"hang"))


def mark(path: Path, *marks: bytes) -> None:
    path.write_bytes(path.read_bytes() + b"".join(marks))


@contextmanager
def breaking_decoder() -> Iterator[None]:
    """In this process the decoder raises at RAISE."""
    undo = _break_decoder()
    try:
        yield
    finally:
        undo()


class BreakingRayExecutor(RayExecutor):
    """Its actors' decoders raise at RAISE, kill their process at KILL, sleep at HANG, and are sent SIGTERM the first time at TERM."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        break_decoder = _break_decoder

        class Breaking(_Actor):  # local, so that Ray sends it by value: an actor cannot import the tests
            def build(self, *args: Any) -> Any:
                break_decoder()
                return super().build(*args)

        Breaking.__name__ = Breaking.__qualname__ = "_Actor"  # names its process
        self.actor_class = Breaking


def _make_break_decoder() -> Any:
    """A closure, for the same reason."""
    words = {
        b"permafrost-test-raise": "raise",
        b"permafrost-test-kill": "kill",
        b"permafrost-test-term": "term",
        b"permafrost-test-hang": "hang",
    }

    def break_decoder() -> Any:
        import os
        import signal
        import time
        from pathlib import Path

        from extractor import image_policy

        whole = image_policy.read_header

        def read_header(encoded: bytes, *args: Any) -> Any:
            found = next((word for sign, word in words.items() if sign in encoded), "")
            if found == "raise":
                raise RuntimeError("the decoder broke")
            if found == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if found == "hang":
                time.sleep(3600)
            if found == "term":
                once = Path(encoded.partition(b"permafrost-test-term:")[2].decode())
                if not once.exists():
                    once.touch()
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(5)
            return whole(encoded, *args)

        image_policy.read_header = read_header  # type: ignore[assignment]

        def undo() -> None:
            image_policy.read_header = whole

        return undo

    return break_decoder


_break_decoder = _make_break_decoder()
