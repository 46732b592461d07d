"""What a process settles before it embeds."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

BLOCKS, PAGES = 20, (64 << 20) // 4096

# b"." * n, unlike zeros, is written to; each block is freed before the next one.
PROGRAM = f"""
import resource
{{settle}}
for _ in range({BLOCKS}):
    b"." * (64 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="only glibc is told to keep freed memory")
def test_freed_memory_is_used_again() -> None:
    def faults(settle: str) -> int:
        return int(subprocess.run([sys.executable, "-c", PROGRAM.format(settle=settle)], capture_output=True, check=True).stdout)

    kept = faults("from extractor.device import keep_freed_memory\nkeep_freed_memory()")
    assert kept < 4 * PAGES
    assert faults("") > (BLOCKS - 1) * PAGES  # what it is about
