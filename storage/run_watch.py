"""Looking after runs from outside: how each one of a set stands, and stopping one."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from storage.errors import DamagedError, NotFoundError, PermafrostError
from storage.files import exists, modified, remove, write_atomic
from storage.names import SetName
from storage.place import Place
from storage.process import ProcessId, is_alive
from storage.run_status import RunFacts, RunStatus, status_of
from storage.runs import RunFolder, run_folders
from storage.sealed import read_sealed


def run_statuses(name: SetName, clock: Callable[[], float] | None = None) -> list[RunStatus]:
    """How each run of a set stands, oldest first. clock: of their silence; None: the file system's, which writes there."""
    now = cache(clock or partial(file_system_time, name.folder / "runs"))
    return [status_of(_facts(folder, now)) for folder in run_folders(name) if not exists(folder.path)]  # a file among them is none


def cancel_run(name: SetName, run_id: str) -> RunStatus:
    """Ask a running run to stop, wherever it runs; it does within seconds, and keeps what it has finished.

    Raises NotFoundError for an unknown run, PermafrostError for one that does not run.
    """
    statuses = {status.run: status for status in run_statuses(name)}
    status = statuses.get(run_id)
    if status is None:
        running = [run for run, status in statuses.items() if status.state == "running"]
        raise NotFoundError(f"{name} has no run {run_id!r}; running are: {', '.join(running) or 'none'}")
    if status.state != "running":
        raise PermafrostError(f"run {run_id} is {status.state}: there is nothing to stop")
    RunFolder(name.folder, run_id).request_cancel()
    return replace(status, cancel_requested=True, message="asked to stop")


def _facts(folder: RunFolder, now: Callable[[], float]) -> RunFacts:
    if isinstance(folder.path, Path) and not os.access(folder.path, os.R_OK | os.X_OK):
        return RunFacts(folder.run_id, readable=False)
    plan, beat, end, report = (_read(folder.path / f"{part}.json") for part in ("plan", "heartbeat", "end", "report"))
    finished = folder.units_finished() if report is None else ()
    facts = RunFacts(folder.run_id, True, plan, beat, end, report, folder.cancel_requested, finished)
    if beat is None or end is not None or report is not None:
        return facts
    silent = max(0.0, now() - modified(folder.path / "heartbeat.json"))
    process = ProcessId(str(beat.get("host")), int(beat.get("pid") or 0), str(beat.get("machine") or ""), str(beat.get("born") or ""))
    return replace(facts, silent_seconds=silent, alive=is_alive(process))


def _read(path: Place) -> dict[str, Any] | None:
    try:
        return read_sealed(path, path.stem)
    except NotFoundError:
        return None
    except (DamagedError, OSError):  # OSError: another team's, perhaps, and not ours to read
        return {}


def file_system_time(folder: Place) -> float:
    """The clock that stamps files there: that of a server, which this machine's may differ from."""
    probe = folder / f".clock-{secrets.token_hex(8)}"
    try:
        write_atomic(probe, b"")
        now = modified(probe)
        remove(probe)
    except (OSError, PermafrostError):  # may only read there
        return time.time()
    return now
