from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import DamagedError
from storage.runs import RunFolder, new_run_id, unfinished_runs
from storage.sealed import read_sealed

if TYPE_CHECKING:
    from scripts.made_set import MadeSet

MakeSet = Callable[..., "MadeSet"]


def table(*keys: str) -> pa.Table:
    return pa.table({"key": list(keys)}).replace_schema_metadata({b"permafrost": b"{}"})


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path, new_run_id())


def test_run_ids_are_new_each_time_and_safe_as_names() -> None:
    ids = _ids(200)
    assert len(set(ids)) == 200
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", run_id) for run_id in ids)


def test_run_ids_sort_by_time_within_a_second_too() -> None:
    ids = _ids(200)
    assert ids == sorted(ids)


def _ids(n: int) -> list[str]:
    ids = []
    for _ in range(n):
        ids.append(new_run_id())
        time.sleep(1e-5)
    return ids


def test_a_plan_and_a_report_come_back(run: RunFolder) -> None:
    run.write_plan({"units": [1]})
    run.write_report({"rows": 3})
    assert read_sealed(run.path / "plan.json", "plan") == {"units": [1]}
    assert read_sealed(run.path / "report.json", "report") == {"rows": 3, "files": {}}


def test_a_run_is_finished_by_its_report(run: RunFolder) -> None:
    assert not run.finished
    run.write_plan({})
    run.write_receipt("u0", table("k"))
    assert not run.finished
    run.write_report({})
    assert run.finished


def test_a_receipt_comes_back_with_its_metadata(run: RunFolder) -> None:
    run.write_receipt("unit-7", table("a", "b"))
    again = run.read_receipt("unit-7")
    assert again is not None
    assert again["key"].to_pylist() == ["a", "b"]
    assert again.schema.metadata[b"permafrost"] == b"{}"


def test_a_unit_without_receipt_has_none(run: RunFolder) -> None:
    assert run.read_receipt("u0") is None
    assert list(run.receipts()) == []


def test_a_receipt_written_again_replaces_the_first(run: RunFolder) -> None:
    run.write_receipt("u0", table("old"))
    run.write_receipt("u0", table("new"))
    assert [receipt["key"].to_pylist() for receipt in run.receipts()] == [["new"]]


def test_receipts_come_in_the_order_of_units_and_private_files_are_none(run: RunFolder) -> None:
    for unit in ("00002", "00000", "00001"):
        run.write_receipt(unit, table(unit))
    (run.path / "receipts" / ".0123.partial").write_text("half")
    assert [receipt["key"].to_pylist() for receipt in run.receipts()] == [["00000"], ["00001"], ["00002"]]


def test_writing_a_receipt_leaves_nothing_private(run: RunFolder) -> None:
    run.write_receipt("u0", table("k"))
    assert [path.name for path in (run.path / "receipts").iterdir()] == ["u0.parquet"]


@pytest.mark.parametrize("keep", [0, 10, -5])
def test_a_truncated_receipt_is_damage_and_named(run: RunFolder, keep: int) -> None:
    run.write_receipt("u0", table("k"))
    path = run.path / "receipts" / "u0.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedError, match=str(path)):
        run.read_receipt("u0")


@pytest.mark.parametrize("part", ["page header", "footer"])
def test_flipped_bytes_of_a_receipt_are_damage_and_named(run: RunFolder, part: str) -> None:
    run.write_receipt("u0", table("k"))
    path = run.path / "receipts" / "u0.parquet"
    data = bytearray(path.read_bytes())
    place = 4 if part == "page header" else len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[place : place + 20] = b"\xff" * 20
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=str(path)):
        run.read_receipt("u0")


def test_what_was_read_outlives_the_file(run: RunFolder) -> None:
    run.write_receipt("u0", table("k"))
    again = run.read_receipt("u0")
    run.write_receipt("u0", table("l"))
    assert again is not None
    assert again["key"].to_pylist() == ["k"]


def test_runs_without_a_report_are_unfinished(make_set: MakeSet) -> None:
    made = make_set()
    runs = [RunFolder(made.folder, f"20260101T00000{i}Z-00000000") for i in range(4)]
    for folder in runs[:3]:
        folder.write_plan({})
    (Path(made.folder) / "runs" / "notes.txt").write_text("no run")
    Path(str(runs[3].path)).write_text("a file in the place of one")
    assert runs[3].read_report() is None
    runs[1].write_report({})
    assert unfinished_runs(made.name) == [runs[0], runs[2], runs[3]]


def test_a_set_without_runs_has_no_unfinished_ones(make_set: MakeSet) -> None:
    assert unfinished_runs(make_set().name) == []


def test_a_receipt_is_a_plain_parquet_file(run: RunFolder) -> None:
    run.write_receipt("u0", table("k"))
    assert pq.read_table(run.path / "receipts" / "u0.parquet").num_rows == 1
