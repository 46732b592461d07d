"""The folder of an exported model: made beside its place and put there whole, with `export.json`, which says what the model is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.disk import sha256_file
from storage.errors import AlreadyExistsError
from storage.files import to_json

DESCRIPTION = "export.json"


def check_export_target(out: Path) -> None:
    """Raise AlreadyExistsError if something other than an export is in the way; worth asking before the work."""
    if out.exists() and not (out / DESCRIPTION).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise AlreadyExistsError(f"{out} exists and is not an exported model: choose another --out")


@contextmanager
def new_export(out: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `out` at the end, and of an older export there; nothing is left of a failure.

    A process that is killed leaves a folder whose name begins with a dot.
    """
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    around = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        folder, older = around / "new", around / "older"
        folder.mkdir()
        yield folder
        if out.exists():
            out.rename(older)
        try:
            folder.rename(out)
        except OSError:
            if older.exists():
                older.rename(out)
            raise
    finally:
        shutil.rmtree(around, ignore_errors=True)


def describe_files(folder: Path) -> list[dict[str, Any]]:
    """Path, bytes and sha256 of each file."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [{"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": sha256_file(path)} for path in paths]


def write_description(folder: Path, description: dict[str, Any]) -> None:
    (folder / DESCRIPTION).write_bytes(to_json({**description, "files": describe_files(folder)}))
