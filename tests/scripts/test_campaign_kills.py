"""The campaign of kills, short; `python -m scripts.campaign_kills` is the full one, and docs/reliability.md keeps its last run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from extractor.receipt import RECEIPT_FIELDS, Receipt
from scripts.campaign_kills import EXECUTORS, Kill, done_again, draw_corpus, embedded_again, embedded_twice, one, undisturbed
from scripts.net_cluster import possible

# Where a cluster of hosts can be made, its campaign kills drivers, too.
RARE = {"local": True, "ray": possible()}


@pytest.mark.slow
@pytest.mark.parametrize("executor", [pytest.param(name, marks=pytest.mark.full if RARE[name] else ()) for name in EXECUTORS])
def test_killed_drivers_leave_what_they_finished_to_the_next_run(tmp_path: Path, executor: str) -> None:
    corpus = draw_corpus(tmp_path / "photos", seed=3)
    whole = undisturbed(corpus, f"{tmp_path}/undisturbed/team/photos", "local")
    outcome = one(Kill(executor, "driver", at_start=False, moment=0.3), corpus, f"{tmp_path}/{executor}/team/photos", whole)
    assert outcome.problems == []
    assert outcome.landed == "work"


def receipt(unit: str, *rows: tuple[str, bytes, int | None]) -> Receipt:
    columns = {name: [None] * len(rows) for name, _ in RECEIPT_FIELDS}
    columns |= {"key": [key for key, *_ in rows], "digest": [d.ljust(32) for _, d, _ in rows], "row": [row for *_, row in rows]}
    table = pa.table(columns, schema=pa.schema(RECEIPT_FIELDS))
    return Receipt(unit, "photos", None, table, {"read": len(rows)}, {})


def test_the_campaign_sees_what_is_done_twice() -> None:
    first, second = receipt("0", ("a", b"A", 0), ("b", b"A", None)), receipt("1", ("c", b"C", 0))
    answer = {"listed": 3, "read": 1, "embedded": 1}
    assert done_again([first], [second], answer) == []
    assert embedded_twice([first, second]) == []
    again = replace(second, items=receipt("1", ("b", b"A", 0), ("c", b"C", 1)).items)
    assert done_again([first], [again], {**answer, "read": 2, "embedded": 2})[0] == "1 finished items were read again, such as b"
    assert embedded_twice([first, again]) == ["1 images have two rows in finished units"]
    assert done_again([first], [second], {**answer, "embedded": 2}) == ["2 embedded, 1 new rows"]
    assert embedded_again([first], [first, second]) == []
    assert embedded_again([first], [first, receipt("2", ("a", b"A", 0))]) == ["1 images of finished units were embedded again"]
    assert done_again([], [second], {"listed": 1, "read": 1, "embedded": 1}) == []
