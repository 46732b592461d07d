"""What a program passes, where another type would end in an error of Python's own."""

from __future__ import annotations

from storage.errors import UsageError


def require_a(kind: type, value: object, what: str) -> None:
    """Raise UsageError unless `value` is of this type; what: its name in the message."""
    if not isinstance(value, kind):
        raise UsageError(f"{what} must be of type {kind.__name__}; got {value!r}")
