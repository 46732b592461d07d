"""The folder of an exported model: made beside its place and put there whole, with `export.json`, which says what the model is, and of what
files: what is not listed there is never removed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.disk import sha256_file
from storage.errors import AlreadyExistsError, DamagedError, UsageError
from storage.files import is_writable, read_json, to_json
from storage.store import STORE_FILE
from storage.store_place import EXPORT

DESCRIPTION = EXPORT


def check_export_target(out: Path) -> None:
    """Ask before the work whether an export may be written there.

    Raises UsageError for a folder that this user may not write to, and for one in a store, where only sets and heads stand: `verify` would
    call an export foreign, and `expire` take it for a head that is damaged. AlreadyExistsError where something other than an export
    is, be it one file beside an export's own.
    """
    path = out.resolve()
    if not is_writable(path):
        raise UsageError(f"you may not write to the folder {out}: choose another --out")
    if root := next((folder for folder in (path, *path.parents) if (folder / STORE_FILE).is_file()), None):
        raise UsageError(
            f"{out} is in the store {root}, where feature sets and heads stand and nothing else: choose an --out outside of it"
        )
    _require_free(out)


def _require_free(out: Path) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / DESCRIPTION).is_file():
        raise AlreadyExistsError(f"{out} exists and is not an exported model: choose another --out")
    try:
        listed = {str(entry["path"]) for entry in read_json(out / DESCRIPTION, "description of an export")["files"]} | {DESCRIPTION}
    except (DamagedError, LookupError, TypeError):
        raise AlreadyExistsError(f"{out / DESCRIPTION} does not tell the files of an export: choose another --out") from None
    if foreign := sorted({path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_symlink() or not path.is_dir()} - listed):
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise AlreadyExistsError(f"{out} holds {foreign[0]}{more}, which no export wrote and a new one would remove: choose another --out")


@contextmanager
def new_export(out: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `out` at the end, and of an older export there; nothing is left of a failure.

    Raises AlreadyExistsError where something else is there by then.

    A process that is killed leaves a folder whose name begins with a dot.
    """
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    around = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        folder, older = around / "new", around / "older"
        folder.mkdir()
        yield folder
        _require_free(out)  # the work takes minutes, in which others write
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
