"""Which process this is, told so that another one can see whether it still lives. Linux tells; elsewhere nothing can be judged."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessId:
    """A process number alone is used again after a while, and means another process in another container."""

    host: str
    pid: int
    machine: str  # boot and process namespace; "" where the system does not tell
    born: str  # clock ticks from boot to the start of the process


def this_process() -> ProcessId:
    return ProcessId(platform.node(), os.getpid(), _machine(), _born(os.getpid()) or "")


def is_alive(process: ProcessId) -> bool | None:
    """Whether it still runs; None if that cannot be seen from here: it is (or may be) on another machine, or is another user's."""
    if not process.machine or process.machine != _machine():
        return None
    try:
        os.kill(process.pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's: there, and in most systems its birth can be seen all the same
    born = _born(process.pid)
    return None if born is None else born == process.born


def _machine() -> str:
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat; "" of what is left of a process until its parent looks (state Z); None if it cannot be seen."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return "" if state in ("Z", "X") else fields[18]
