"""What code and which libraries a process runs, and whether a worker may work for a driver. Imports none of those libraries.

Differing code is refused, even under one version number: units, receipts and values would mean different things. So are libraries of
another feature release (the first two numbers), which may decode or compute differently. Other patch releases are only told: whether
their values agree is what the golden images measure. Ray compares its own version and Python's patch release itself.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import storage
from storage.errors import CodeMismatchError

EXACT = ("code", "permafrost", "python")
LIBRARIES = ("tensorflow", "keras", "numpy", "pillow", "pyarrow", "h5py")
ABSENT = "not installed"


def versions_here() -> dict[str, str]:
    """Of this process, by name of EXACT and LIBRARIES."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"code": code_digest(), "python": python} | {name: _version(name) for name in ("permafrost", *LIBRARIES)}


@cache  # a driver's checkout may change while it runs
def code_digest() -> str:
    """Of the sources of `extractor` and `storage` that this process imports: 12 hex digits of the sha256 over names and bytes."""
    digest = hashlib.sha256()
    for package in (Path(__file__).parent, Path(storage.__file__).parent):
        for path in sorted(package.rglob("*.py")):
            source = path.read_bytes()
            digest.update(f"{package.name}/{path.relative_to(package).as_posix()}\0{len(source)}\0".encode() + source)
    return digest.hexdigest()[:12]


def require_same_code(driver: Mapping[str, str], worker: Mapping[str, str], where: str) -> list[str]:
    """Raise CodeMismatchError if the worker at `where` may not work for the driver; returns what is worth a warning."""
    differing = [name for name in (*EXACT, *LIBRARIES) if driver.get(name, ABSENT) != worker.get(name, ABSENT)]
    told = {name: f"{name} {worker.get(name, ABSENT)} there, {driver.get(name, ABSENT)} here" for name in differing}
    refused = [name for name in differing if name in EXACT or _feature(driver.get(name, ABSENT)) != _feature(worker.get(name, ABSENT))]
    if refused:
        raise CodeMismatchError(
            f"node {where} does not run what the driver runs: {'; '.join(told[name] for name in refused)}. Install one permafrost and "
            "one set of libraries on all nodes (constraints.txt names tested ones), or take that node out of the cluster"
        )
    if not differing:
        return []
    return [f"node {where} has other patch releases ({'; '.join(told.values())}); the golden images tell whether its values agree"]


def _feature(number: str) -> str:
    return ".".join(number.split(".")[:2])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ABSENT
