"""A disk that is really full, of bytes or of files, at any point of a commit: it lands once, or says that there is no room."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]


def possible() -> bool:
    """Whether anybody may mount a disk here, for himself alone."""
    mount = [*UNSHARE, "mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
    return shutil.which("unshare") is not None and subprocess.run(mount, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not possible(), reason="no small disk can be mounted here (Linux, unshare and user namespaces are needed)")
@pytest.mark.parametrize("shard_format", ["parquet", "hdf5"])
def test_a_full_disk_is_told_and_leaves_the_set_as_it_was(tmp_path: Path, shard_format: str) -> None:
    command = [*UNSHARE, sys.executable, "-m", "tests.storage.full_disk_process", str(tmp_path), shard_format]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    found: dict[str, Sequence[dict[str, Any]]] = json.loads(done.stdout)
    for short in ("pages", "files"):
        *failed, landed = found[short]
        assert len(failed) >= 3
        assert all(outcome["answer"].startswith(f"DiskFullError: no room is left to write in {tmp_path}") for outcome in failed)
        assert [outcome["there"] for outcome in failed] == [[]] * len(failed)
        assert landed["there"] == [landed["answer"]]
        assert all(outcome["sound"] for outcome in found[short])
