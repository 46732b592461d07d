from __future__ import annotations

import pickle
from dataclasses import replace

from extractor.receipt import Receipt, items_table
from storage.files import FileEntry
from tests.extractor.simulated_cluster import make_units


def test_a_receipt_arrives_as_it_was_sent() -> None:
    [unit] = make_units(1, items=5)
    table = items_table(unit.items, [b"x" * 32, None, b"y" * 32, b"z" * 32, None], {0: 0, 2: 1}, {1: ("corrupt", "so"), 3: ("fatal", "")})
    of_other = Receipt(unit.id, "photos", None, table.slice(1), {"read": 0}, {}, "w")
    sent = replace(of_other, shard=FileEntry("shards/a", "a", 1, 2), items=table, seconds={"infer": 0.5}, also=(of_other,))
    assert pickle.loads(pickle.dumps(sent)) == sent  # noqa: S301 - its own
    assert b"pandas" not in pickle.dumps(sent)
