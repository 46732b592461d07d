"""Options of a bucket that the environment gives, looked at before obstore takes them: 0.12 panics at some, with a traceback of Rust's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from storage.errors import UsageError

# Where each of these was no address, or had a line end, obstore 0.12 panicked; for Azure it had words.
_ADDRESSES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_METADATA_ENDPOINT")
_ONE_LINE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION")


def require_sound_options(environment: Mapping[str, str] = os.environ) -> None:
    """Raises UsageError, which tells no value that may be a secret."""
    for name in _ADDRESSES:
        if not _is_address(environment.get(name, "http://127.0.0.1")):
            raise UsageError(
                f"the variable {name} of the environment is {environment[name]!r}: expected http:// or https:// and a host, such as "
                "http://127.0.0.1:9000, or that it is not set (an empty one is)"
            )
    for name in _ONE_LINE:
        if not environment.get(name, "").isprintable():
            raise UsageError(f"the variable {name} of the environment has a line end in it, or another character that cannot be printed")


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and text.isprintable() and " " not in text
    except ValueError:  # of the port, or of brackets
        return False
