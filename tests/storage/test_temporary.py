"""Temporary files on a disk that is full, and in folders that are none: real limits, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FILL = """
import resource, sys, tempfile
tempfile.tempdir = sys.argv[2]
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))  # what a full disk is to a writer: an error after so many bytes
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import numpy as np, pyarrow as pa
from storage.digests import DigestMap
from storage.errors import PermafrostError
from storage.row_file import write_rows
try:
    if sys.argv[1] == "rows":
        write_rows(pa.schema([("n", pa.int64())]), (pa.table({"n": np.arange(100_000)}) for _ in range(20)))
    else:
        DigestMap().add(np.random.default_rng(0).integers(0, 2**63, (500_000, 4), np.uint64))
except PermafrostError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["rows", "digests"])
def test_a_full_folder_is_told_and_the_process_lives(what: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FILL, what, tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "DiskFullError" in done.stdout
    assert "set TMPDIR" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FILL, "rows", tmp_path / "gone"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("PermafrostError no temporary file can be made (No such file or directory): set TMPDIR")
