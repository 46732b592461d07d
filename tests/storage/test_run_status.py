"""How a run stands, by what its folder holds; and looking after runs from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from storage.errors import NotFoundError, PermafrostError
from storage.process import ProcessId, is_alive, this_process
from storage.run_status import SILENT_SECONDS, RunFacts, status_of
from storage.run_watch import cancel_run, run_statuses
from storage.runs import RunFolder, unfinished_runs

if TYPE_CHECKING:
    from scripts.made_set import MadeSet

STARTED = "2026-01-31T12:00:01+00:00"
BEAT = {"host": "node-7", "pid": 12, "done": 30, "total": 40, "embedded": 25, "work_seconds": 10.0, "run_started": STARTED}
END = {"state": "failed", "message": "no room", "time": "2026-01-31T12:05:00+00:00"}
REPORT = {"counts": {"listed": 3, "rows": 2, "rejected": 1, "pending": 0, "read": 3, "embedded": 2}, "versions": {"after": 4}}
FACTS = RunFacts("20260131T120000Z-0a1b2c3d")


@pytest.mark.parametrize(
    ("facts", "state", "said"),
    [
        ({"heartbeat": BEAT, "silent_seconds": 3.0}, "running", ""),
        ({"heartbeat": BEAT, "silent_seconds": SILENT_SECONDS}, "running", ""),
        ({"heartbeat": BEAT, "silent_seconds": 3.0, "cancel_requested": True}, "running", "asked to stop"),
        ({"heartbeat": BEAT, "silent_seconds": 300.0}, "broken", "no sign of life from node-7 for 300 s"),
        ({"heartbeat": BEAT, "silent_seconds": 300.0, "alive": True}, "running", ""),  # it hangs, but it is there
        ({"heartbeat": BEAT, "silent_seconds": 1.0, "alive": False}, "broken", "its process 12 on node-7 is gone"),
        ({"heartbeat": BEAT, "end": END, "alive": True}, "failed", "no room"),
        ({"heartbeat": BEAT, "end": {**END, "state": "cancelled"}, "cancel_requested": True}, "cancelled", "no room"),
        ({"heartbeat": BEAT, "end": {**END, "state": "interrupted"}}, "interrupted", "no room"),
        ({"heartbeat": BEAT, "end": {}}, "failed", ""),
        ({"heartbeat": BEAT, "report": REPORT, "alive": False}, "finished", ""),
        ({"heartbeat": BEAT, "report": REPORT, "end": END}, "finished", ""),
        ({"report": {}}, "finished", "cannot be read"),
        ({"plan": {"started": "then"}}, "broken", "no sign of life"),
        ({}, "broken", "no sign of life"),
        ({"readable": False}, "unreadable", "you may not read its folder"),
    ],
)
def test_the_state_follows_from_the_folder(facts: dict[str, Any], state: str, said: str) -> None:
    status = status_of(replace(FACTS, **facts))
    assert status.state == state
    assert said in status.message
    assert bool(said) == bool(status.message)


def test_a_running_run_tells_its_progress_and_rate() -> None:
    status = status_of(replace(FACTS, heartbeat=BEAT, silent_seconds=2.0))
    assert (status.done, status.total, status.images_per_second, status.silent_seconds) == (30, 40, 2.5, 2.0)
    assert (status.host, status.pid, status.started) == ("node-7", 12, STARTED)


PLAN = {"units": [{"id": "000000", "items": 300}, {"id": "000001", "items": 300}, {"id": "000002", "items": 100}]}


@pytest.mark.parametrize(
    ("facts", "progress"),
    [
        ({"heartbeat": {**BEAT, "done": 0, "total": 0}, "plan": PLAN}, (0, 700)),  # killed within seconds
        ({"heartbeat": {**BEAT, "done": 0, "total": 0}, "plan": PLAN, "units_finished": ["000000", "000002"]}, (400, 700)),
        ({"heartbeat": {**BEAT, "done": 350, "total": 700}, "plan": PLAN, "units_finished": ["000000", "000001-0"]}, (350, 700)),
        ({"heartbeat": {**BEAT, "done": 0, "total": 0}}, (None, None)),  # killed before it had a plan
        ({"heartbeat": {**BEAT, "done": 0, "total": 0}, "plan": {}}, (None, None)),
        ({"heartbeat": BEAT}, (30, 40)),
    ],
)
def test_a_run_that_was_killed_tells_how_far_it_had_come(facts: dict[str, Any], progress: tuple[int | None, int | None]) -> None:
    status = status_of(replace(FACTS, **facts, silent_seconds=300.0))
    assert (status.done, status.total) == progress


def test_a_further_set_of_a_run_tells_what_was_read_for_it() -> None:
    report = {**REPORT, "counts": {**REPORT["counts"], "read": 0, "to_read": 3}, "kinds": {"new": 2, "pending": 1}}
    status = status_of(replace(FACTS, report=report))
    assert (status.done, status.total) == (2, 3)


def test_a_finished_run_tells_its_account() -> None:
    status = status_of(replace(FACTS, report={**REPORT, "host": "h", "started": "s", "finished": "f", "images_per_second": 9.0}))
    assert status.counts == {"listed": 3, "rows": 2, "rejected": 1, "pending": 0}
    assert (status.version, status.host, status.started, status.ended, status.images_per_second) == (4, "h", "s", "f", 9.0)


def test_a_report_of_the_first_version_is_read_too() -> None:
    flat = {"listed": 3, "rows": 2, "rejected": 1, "pending": 0, "read": 3, "embedded": 2, "version": 1, "images_per_second": 5.0}
    status = status_of(replace(FACTS, report=flat))
    assert (status.state, status.version, status.done, status.counts["rows"]) == ("finished", 1, 3, 2)


def test_a_run_without_anything_still_has_the_time_of_its_id() -> None:
    assert status_of(FACTS).started == "2026-01-31T12:00:00+00:00"
    assert status_of(RunFacts("some-run")).started is None


@pytest.mark.slow
def test_this_process_lives_and_one_that_has_ended_does_not() -> None:
    assert is_alive(this_process()) is not False
    code = "from storage.process import this_process; from dataclasses import astuple; print(*astuple(this_process()), sep='\\n')"
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    host, pid, machine, born = process.stdout.read().splitlines()
    other = ProcessId(host, int(pid), machine, born)
    assert not is_alive(other)  # not waited for yet: a zombie
    process.wait()
    assert not is_alive(other)


def test_another_process_by_the_same_number_and_another_machine_are_not_mistaken_for_it() -> None:
    mine = this_process()
    if not mine.machine:
        pytest.skip("this system does not tell processes apart (it has no /proc)")
    assert is_alive(mine) is True
    assert is_alive(replace(mine, born="1")) is False
    assert is_alive(replace(mine, machine="another")) is None
    assert is_alive(replace(mine, machine="")) is None


RUN_IDS = tuple(f"20260101T00000{i}Z-00000000" for i in range(7))
RUNS, KILLED, CANCELLED, DONE, FIRST_VERSION, ELSEWHERE, LONG_AGO = RUN_IDS


@pytest.fixture
def made(make_set: Callable[..., MadeSet]) -> MadeSet:
    return make_set()


def begin(made: MadeSet, run_id: str, **changes: Any) -> RunFolder:
    folder = RunFolder(made.folder, run_id)
    folder.write_heartbeat({**asdict(this_process()), "done": 1, "total": 2, **changes})
    return folder


def states(made: MadeSet) -> dict[str, str]:
    return {status.run: status.state for status in run_statuses(made.name)}


def test_the_runs_of_a_set(made: MadeSet) -> None:
    begin(made, RUNS)
    begin(made, KILLED, pid=os.getpid(), born="1")
    begin(made, CANCELLED).write_end("cancelled", "asked to")
    begin(made, DONE).write_report(REPORT)
    RunFolder(made.folder, FIRST_VERSION).write_plan({"started": "2026"})
    begin(made, ELSEWHERE, machine="another")
    begin(made, LONG_AGO, machine="another")
    long_ago = time.time() - 1000
    os.utime(made.folder / "runs" / LONG_AGO / "heartbeat.json", (long_ago, long_ago))
    (made.folder / "runs" / "readme.txt").write_text("no run")
    assert states(made) == {
        RUNS: "running",
        KILLED: "broken",
        CANCELLED: "cancelled",
        DONE: "finished",
        FIRST_VERSION: "broken",
        ELSEWHERE: "running",
        LONG_AGO: "broken",
    }
    assert not list((made.folder / "runs").glob(".*"))
    assert [run.run_id for run in unfinished_runs(made.name) if run.run_id <= DONE] == [RUNS, KILLED, CANCELLED]


def test_receipts_say_how_far_a_killed_run_had_come(made: MadeSet) -> None:
    folder = begin(made, KILLED, pid=os.getpid(), born="1", done=0, total=0)
    folder.write_plan(PLAN)
    folder.write_receipt("000001", pa.table({"key": ["a"]}))
    [status] = run_statuses(made.name)
    assert (status.state, status.done, status.total) == ("broken", 300, 700)


def test_damaged_files_of_a_run_hide_no_other_run(made: MadeSet) -> None:
    for run_id, name in zip(RUN_IDS, ("plan.json", "heartbeat.json", "end.json", "report.json"), strict=False):
        folder = begin(made, run_id)
        (folder.path / name).write_text("{ half")
    begin(made, RUN_IDS[4])
    assert list(states(made).values()) == ["running", "running", "failed", "finished", "running"]


def test_a_running_run_is_asked_to_stop(made: MadeSet) -> None:
    folder = begin(made, RUNS)
    assert not folder.cancel_requested
    assert cancel_run(made.name, RUNS).cancel_requested
    assert folder.cancel_requested
    [status] = run_statuses(made.name)
    assert (status.state, status.message) == ("running", "asked to stop")


def test_what_does_not_run_cannot_be_stopped(made: MadeSet) -> None:
    begin(made, RUNS)
    begin(made, DONE).write_report(REPORT)
    with pytest.raises(PermafrostError, match=f"run {DONE} is finished: there is nothing to stop"):
        cancel_run(made.name, DONE)
    for unknown in ("c", "../../etc", ""):
        with pytest.raises(NotFoundError, match=f"running are: {RUNS}"):
            cancel_run(made.name, unknown)
    assert not list(made.folder.rglob("cancel.json"))
