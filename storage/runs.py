"""The folder of one extraction run: `runs/<run id>/` with its plan, signs of life, the receipts of finished units, and its end.

A receipt is written by the worker after its shard is published and before it answers: whoever finds a receipt need not do the unit
again. A run without a report did not finish; what its receipts list is reused by the next one. Whoever wants a run to stop, on
whatever machine it is, puts `cancel.json` into its folder.
"""

from __future__ import annotations

import hashlib
import platform
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.damage import damage_named
from storage.errors import DamagedError, NotFoundError
from storage.files import exists, list_names, private_file, publish_as, read_bytes, write_atomic
from storage.names import SetName
from storage.patience import full_disk_told, patient
from storage.place import Place
from storage.sealed import read_sealed, seal

RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


def new_run_id() -> str:
    """Sortable by start time to the microsecond, unique across machines."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%SZ}-{now.microsecond:05x}{secrets.randbelow(16**3):03x}"


@dataclass(frozen=True)
class RunFolder:
    """Whatever writes raises DiskFullError, which names the set, where there is no room."""

    set_folder: Place
    run_id: str

    @property
    def path(self) -> Place:
        return self.set_folder / "runs" / self.run_id

    def write_plan(self, plan: dict[str, Any]) -> None:
        self._write("plan.json", seal(plan))

    @property
    def page(self) -> Place:
        """The report for people. Written before report.json, which marks the run as finished."""
        return self.path / "report.html"

    def write_page(self, html: str) -> None:
        self._write(self.page.name, html.encode())

    def write_report(self, report: dict[str, Any]) -> None:
        """Write report.json: the mark of a finished run. It has the sha256 of the other files, as far as they do not prove themselves."""
        names = ["report.html", *(f"receipts/{unit}.parquet" for unit in self.units_finished())]
        report = {
            **report,
            "files": {name: hashlib.sha256(read_bytes(self.path / name)).hexdigest() for name in names if exists(self.path / name)},
        }
        self._write("report.json", seal(report))

    def read_report(self) -> dict[str, Any] | None:
        """The report of a finished run; None where there is none that can be read."""
        try:
            return read_sealed(self.path / "report.json", "report")
        except (NotFoundError, DamagedError):
            return None

    def write_heartbeat(self, heartbeat: dict[str, Any]) -> None:
        """Write heartbeat.json: the driver does so every few seconds, and its age says whether the run still lives."""
        self._write("heartbeat.json", seal(heartbeat))

    def write_end(self, state: str, message: str) -> None:
        """Write end.json: how a run ended that did not finish. state: failed, interrupted or cancelled."""
        self._write("end.json", seal({"state": state, "message": message, "time": _now()}))

    def request_cancel(self) -> None:
        self._write("cancel.json", seal({"time": _now(), "host": platform.node()}))

    @property
    def cancel_requested(self) -> bool:
        return exists(self.path / "cancel.json")

    @property
    def finished(self) -> bool:
        return exists(self.path / "report.json")

    @patient
    def write_receipt(self, unit: str, table: pa.Table) -> None:
        target = self.path / "receipts" / f"{unit}.parquet"
        with full_disk_told(self.set_folder), private_file(target.parent) as unfinished:
            pq.write_table(table, unfinished, compression="zstd")
            publish_as(unfinished, target)

    def read_receipt(self, unit: str) -> pa.Table | None:
        """The receipt of a unit, or None if it has none."""
        path = self.path / "receipts" / f"{unit}.parquet"
        if not exists(path):
            return None
        with damage_named(path, "receipt"):
            return pq.read_table(pa.BufferReader(read_bytes(path)))

    def units_finished(self) -> list[str]:
        """Ids of the units that have receipts."""
        return [entry.removesuffix(".parquet") for entry in list_names(self.path / "receipts")]

    def receipts(self) -> Iterator[pa.Table]:
        """All receipts that can be read. A damaged one is as if its unit had not been finished."""
        for unit in self.units_finished():
            with suppress(DamagedError):
                table = self.read_receipt(unit)
                if table is not None:
                    yield table

    def _write(self, name: str, data: bytes) -> None:
        with full_disk_told(self.set_folder):
            write_atomic(self.path / name, data)


def run_folders(name: SetName) -> list[RunFolder]:
    """All runs of a set, oldest first. What else somebody has put among them is none."""
    return [RunFolder(name.folder, run_id) for run_id in list_names(name.folder / "runs") if RUN_ID.fullmatch(run_id)]


def unfinished_runs(name: SetName) -> list[RunFolder]:
    """Runs of the set that wrote no report: still running, or broken."""
    return [folder for folder in run_folders(name) if not folder.finished]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
