"""What a store allows, tried out."""

from __future__ import annotations

import time
from typing import Any

from storage.catalog import set_names
from storage.place import Place
from storage.store import is_behind_web, probe, require_store


def examine_store(root: Place) -> dict[str, Any]:
    """Its kind, how many sets it has, whether it can be written, else why not, and how many milliseconds creating a name takes.

    Leaves nothing. Raises NotFoundError, DamagedError, and PermafrostError where several writers are not safe.
    """
    description = require_store(root)
    found = {"kind": description["backend"]["kind"], "sets": len(set_names(root)), "writable": False}
    if is_behind_web(root):
        return found | {"kind": "web server", "why": "it is behind a web server"}
    started = time.perf_counter()
    try:
        probe(root)
    except OSError as error:
        return found | {"why": error.strerror or str(error)}
    return found | {"writable": True, "create_ms": round(1000 * (time.perf_counter() - started) / 2, 1)}  # two are tried
