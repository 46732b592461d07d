"""Getting at a Ray cluster: what this process prepares before Ray connects. Nothing here imports Ray."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import PermafrostError

CONNECT_SECONDS = 10.0
CHECK_ADDRESS = "Check --ray (and RAY_ADDRESS), or leave it out for a private cluster on this machine"


@contextmanager
def sigterm_kept() -> Iterator[None]:
    """Ray puts handlers of its own on SIGTERM, which end the program with a C++ stack on stderr: keep the caller's.

    Raises KeyboardInterrupt for a SIGTERM that one of Ray's handlers gets meanwhile: it raises SystemExit, which would end without a word.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, handler)


def use_a_private_token() -> None:
    """Authenticate a private cluster with a token of this process.

    From Ray 2.59 on, local clusters ask for a token and would keep it in HOME, which may be read-only
    (https://docs.ray.io/en/latest/ray-security/token-auth.html). What the user has set up is left alone.
    """
    is_set = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    if not is_set and not (Path.home() / ".ray" / "auth_token").exists():
        # Not RAY_AUTH_MODE: Ray reads it at import, and would then take this process and its children for different modes.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def require_reachable(address: str) -> None:
    """Try the address for a few seconds: Ray itself goes on for five minutes before it says that nobody is there."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # "auto" and the like: Ray looks for a cluster on this machine, and answers at once
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise PermafrostError(f"nobody answers at {address!r} ({error.strerror or error}). {CHECK_ADDRESS}") from None
