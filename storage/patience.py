"""Storage that fails for a while is tried again; storage that is full is told in words."""

from __future__ import annotations

import errno
import functools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from storage.errors import DiskFullError

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 120.0  # in all: a file server that starts again is back in one or two minutes
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds; doubled each time
# Of network folders and failing links. Not EIO's neighbours that stay as they are: no permission, read-only, no such folder.
PASSING = frozenset(
    {
        errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY, errno.ENOTCONN, errno.EAGAIN, errno.ECONNRESET, errno.ECONNABORTED,
        errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EREMOTEIO, errno.ENOLCK,
    }
)  # fmt: skip
OUTAGES = PASSING - {errno.EIO}  # the storage cannot be reached, which says nothing of the files there; EIO may be of one bad file
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

P = ParamSpec("P")
R = TypeVar("R")


def patient(action: Callable[P, R]) -> Callable[P, R]:
    """The same function, tried again for PATIENCE_SECONDS while the storage fails in a way that may pass. Each try must begin anew."""

    @functools.wraps(action)
    def tried(*args: P.args, **options: P.kwargs) -> R:
        end, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE
        while True:
            try:
                return action(*args, **options)
            except OSError as error:
                if error.errno not in PASSING or time.monotonic() + pause > end:
                    raise
                if pause == FIRST_PAUSE:
                    logger.warning("the storage fails (%s), trying for up to %.0f s", error, PATIENCE_SECONDS)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    return tried


@contextmanager
def full_disk_told(where: object) -> Iterator[None]:
    """Turn the error of a full disk, an exhausted quota or a limit on file sizes into DiskFullError."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFullError(f"no room is left to write in {where} ({error.strerror or error})") from None
