"""What a worker's error says: the line that people should read, and whether the worker was only sent away."""

from __future__ import annotations

_JAX_FOOTNOTE = "For simplicity, JAX has removed its internal frames"  # that Ray's text of an error ends with, a line of dashes before it
_SENT_AWAY = ("receives a SIGTERM", "node has died", "node was terminated")


def last_line(error: BaseException) -> str:
    """The line of a long message that tells what went wrong; the error's name where there is no message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -") and not line.startswith(_JAX_FOOTNOTE)]
    return lines[-1] if lines else type(error).__name__


def tells_of_leaving(error: BaseException) -> bool:
    """Whether the worker got SIGTERM, or its node is gone: Ray says so in words only, but for nodes that it drained itself."""
    return any(words in str(error) for words in _SENT_AWAY)
