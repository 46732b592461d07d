"""Makes the checkout's own environment, `.venv`, for the two README commands. Standard library only: nothing is installed yet."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / ".permafrost-installed"
OLDEST, FIRST_UNTESTED = (3, 11), (3, 14)


def ensure(extra: str) -> Path:
    """Create `.venv` and install permafrost with `extra` at the versions of constraints.txt, unless that is done; return its Python."""
    if not OLDEST <= sys.version_info[:2] < FIRST_UNTESTED:
        sys.exit(f"Permafrost needs Python 3.11 to 3.13; this is {sys.version.split()[0]}. Try: python3.11 {sys.argv[0]}")
    python = ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    wanted = _wanted()
    installed = STAMP.read_text().split() if STAMP.exists() else []
    if python.exists() and wanted in installed and {extra, "dev"} & set(installed):
        return python
    print(f"Setting up {ENVIRONMENT} with [{extra}] (once; TensorFlow and Ray are about 2 GB)", flush=True)
    try:
        if not python.exists():
            venv.create(ENVIRONMENT, with_pip=True, clear=ENVIRONMENT.exists())
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[{extra}]"], check=True)
    except subprocess.CalledProcessError as error:
        sys.exit(f"Setting up failed ({error}). It needs pip in Python's venv (Debian: apt install python3-venv) and a package registry")
    STAMP.write_text(f"{wanted} {extra}\n")
    return python


def _wanted() -> str:
    """Changes when an installation made before is out of date."""
    files = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    return hashlib.sha256(files + sys.version.encode()).hexdigest()
