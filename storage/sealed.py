"""JSON files that prove themselves: each holds the checksum of all else in it, and is written in one way only.

So a reader notices any changed bit, as he does of listed files by their sha256. No protection from forgers, who can seal as well.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping
from typing import Any

from storage.errors import DamagedError, NotFoundError
from storage.files import parse_json, read_bytes, to_json
from storage.place import Place

CHECKSUM = "checksum"


def seal(value: Mapping[str, Any]) -> bytes:
    """The bytes of the file. value: without a field `checksum`."""
    return to_json({**value, CHECKSUM: _checksum(value)})


def read_sealed(place: Place, what: str) -> dict[str, Any]:
    """What was sealed; `what` names it in errors (NotFoundError, DamagedError)."""
    try:
        data = read_bytes(place)
    except (FileNotFoundError, NotADirectoryError):  # the latter where a file has the name of the folder
        raise NotFoundError(f"no {what} at {place}") from None
    return unseal(data, place, what)


def unseal(data: bytes, place: object, what: str) -> dict[str, Any]:
    """What was sealed in these bytes. Raises DamagedError."""
    value = parse_json(data, place, what)
    content = {name: item for name, item in value.items() if name != CHECKSUM}
    if value.get(CHECKSUM) != _checksum(content) or to_json(value) != data:
        raise DamagedError(f"the {what} at {place} is damaged, or was changed by hand: its checksum is not that of its content")
    return content


def is_damaged(place: Place) -> bool:
    """Whether its bytes are not those that were written. A sound file of a newer format is not: who wrote it can read it."""
    try:
        read_sealed(place, "file")
    except NotFoundError:
        return False
    except DamagedError:
        return True
    except OSError as error:
        if error.errno != errno.EIO:  # one that this user may not read is none of his to give up
            raise
        return True
    return False


def _checksum(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(value)).hexdigest()
