"""How a run stands: running, finished, failed, interrupted, cancelled, broken or unreadable. A pure function of what its folder holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

SILENT_SECONDS = 90.0  # without a sign of life a run is broken: 18 beats, and more than the minute for which NFS may show old names


@dataclass(frozen=True)
class RunFacts:
    """What a run's folder holds; None for a file that is not there, {} for one that cannot be read."""

    run: str
    readable: bool = True  # False: this user may not look into the folder
    plan: Mapping[str, Any] | None = None
    heartbeat: Mapping[str, Any] | None = None
    end: Mapping[str, Any] | None = None
    report: Mapping[str, Any] | None = None
    cancel_requested: bool = False
    units_finished: Collection[str] = ()  # by id: those whose receipts are there
    silent_seconds: float | None = None  # since the last sign of life, by the file system's own clock
    alive: bool | None = None  # whether its process still lives; None: cannot be seen from here


@dataclass(frozen=True)
class RunStatus:
    run: str
    state: str  # running, finished, failed, interrupted, cancelled, broken, unreadable
    message: str = ""
    started: str | None = None  # UTC, ISO 8601
    ended: str | None = None
    host: str | None = None
    pid: int | None = None
    done: int | None = None  # items of `total` to read; None: not known
    total: int | None = None
    embedded: int | None = None
    images_per_second: float | None = None
    version: int | None = None  # of a finished run
    counts: dict[str, int] = field(default_factory=dict)  # of a finished run: listed, rows, rejected, pending
    cancel_requested: bool = False
    silent_seconds: float | None = None  # of a run without an end


def status_of(facts: RunFacts) -> RunStatus:
    """A report is the mark of a finished run, whatever else lies beside it."""
    state, message = _state(facts)
    beat, plan, end = facts.heartbeat or {}, facts.plan or {}, facts.end or {}
    seconds = beat.get("work_seconds")
    done, total = _progress(beat, plan, facts.units_finished)
    common = RunStatus(
        facts.run,
        state,
        message,
        started=beat.get("run_started") or plan.get("started") or _time_in(facts.run),
        ended=end.get("time"),
        host=beat.get("host"),
        pid=beat.get("pid"),
        done=done,
        total=total,
        embedded=beat.get("embedded"),
        images_per_second=round(beat.get("embedded", 0) / seconds, 2) if seconds else None,
        cancel_requested=facts.cancel_requested,
        silent_seconds=facts.silent_seconds if state in ("running", "broken") else None,
    )
    return _with_report(common, facts.report) if facts.report is not None else common


def _progress(beat: Mapping[str, Any], plan: Mapping[str, Any], finished: Collection[str]) -> tuple[int | None, int | None]:
    """(items done, of how many). A run that was killed did more than its last sign of life knows of, which may be from before the plan."""
    planned = {unit["id"]: unit["items"] for unit in plan.get("units", ())}
    total = beat.get("total") or sum(planned.values())
    if not total:
        return None, None
    return max(beat.get("done") or 0, sum(planned.get(unit, 0) for unit in finished)), total


def _state(facts: RunFacts) -> tuple[str, str]:
    if not facts.readable:
        return "unreadable", "you may not read its folder"
    if facts.report is not None:
        return "finished", "" if facts.report else "its report cannot be read"
    if facts.end is not None:
        return facts.end.get("state", "failed"), facts.end.get("message", "")
    if facts.heartbeat is None:
        return "broken", "no report, and no sign of life"
    if facts.alive is None:
        silent = facts.silent_seconds if facts.silent_seconds is not None else SILENT_SECONDS + 1
        if silent > SILENT_SECONDS:
            return "broken", f"no sign of life from {facts.heartbeat.get('host')} for {silent:.0f} s"
    elif not facts.alive:
        return "broken", f"its process {facts.heartbeat.get('pid')} on {facts.heartbeat.get('host')} is gone"
    return "running", "asked to stop" if facts.cancel_requested else ""


def _with_report(status: RunStatus, report: Mapping[str, Any]) -> RunStatus:
    """Counts and times of a finished run. The first version's reports had them all at the top level."""
    counts = report.get("counts", report)
    read = counts.get("to_read", counts.get("read"))  # further sets of a run count no file as read: the first one does
    return RunStatus(
        status.run,
        status.state,
        status.message,
        started=report.get("started", status.started),
        ended=report.get("finished"),
        host=report.get("host", status.host),
        pid=status.pid,
        done=read - report.get("kinds", {}).get("pending", 0) if read is not None else None,
        total=read,
        embedded=counts.get("embedded"),
        images_per_second=report.get("images_per_second"),
        version=report.get("versions", {"after": report.get("version")}).get("after"),
        counts={name: counts[name] for name in ("listed", "rows", "rejected", "pending") if name in counts},
    )


def _time_in(run_id: str) -> str | None:
    """The start time that a run id begins with."""
    try:
        return datetime.strptime(run_id.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).isoformat()
    except ValueError:
        return None
