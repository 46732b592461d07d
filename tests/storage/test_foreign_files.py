"""What belongs to no set is found wherever it lies, on disks and in buckets; what belongs to one is not taken for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scripts.damaged_sets import fill_with_every_kind
from scripts.made_set import MadeSet
from scripts.s3_server import new_bucket
from storage.files import remove, write_atomic
from storage.foreign_files import foreign_in_set, foreign_in_store
from storage.store import init_store

RUN = "runs/20261127T120000Z-00000000"
IN_SET = {  # where a file is put, and what is named then
    "b.parquet": "b.parquet",
    "versions/b.parquet": "versions/b.parquet",
    "tags/b.parquet": "tags/b.parquet",
    "shards/b.parquet": "shards/b.parquet",
    "shards/sub/b.parquet": "shards/sub",
    "items/deep/er/b.parquet": "items/deep",
    "runs/b.parquet": "runs/b.parquet",
    "runs/20261127T140000Z-00000000": "runs/20261127T140000Z-00000000",
    f"{RUN}/b.parquet": f"{RUN}/b.parquet",
    f"{RUN}/sub/b.parquet": f"{RUN}/sub",
    f"{RUN}/receipts/b.txt": f"{RUN}/receipts/b.txt",
}
IN_STORE = {
    "b.parquet": "b.parquet",
    "team/b.parquet": "team/b.parquet",
    "team/no-set/b.parquet": "team/no-set",
    "elsewhere/deep/b.parquet": "elsewhere",
    "heads/b.parquet": "heads/b.parquet",
    "heads/me/no-head/b.parquet": "heads/me/no-head",
    "takedowns/b.parquet": "takedowns/b.parquet",
    "takedowns/receipts/b.parquet": "takedowns/receipts/b.parquet",
}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["disk", "bucket"])
def test_foreign_files_and_no_others(request: pytest.FixtureRequest, make_set: Callable[..., MadeSet], place: str) -> None:
    if place == "bucket":
        root = new_bucket(request.getfixturevalue("server"))
        init_store(root)
        made = make_set(root=root)
        made.commit("one", {"a": 1}, rejected=["bad"])
    else:
        made = fill_with_every_kind(make_set())
        root = made.name.root
    write_atomic(root / "heads/me/best/head.json", b"{}")
    assert foreign_in_set(made.name) == foreign_in_store(root) == []
    for path in IN_SET:
        write_atomic(made.folder / path, b"b")
    for path in IN_STORE:
        write_atomic(root / path, b"b")
    assert sorted(foreign_in_set(made.name)) == sorted(IN_SET.values())
    assert sorted(foreign_in_store(root)) == sorted(IN_STORE.values())
    if place == "disk":
        for folder, paths in ((made.folder, IN_SET), (root, IN_STORE)):
            for path in paths:
                remove(folder / path)
        assert foreign_in_set(made.name) == foreign_in_store(root) == [], "folders without files hold nothing"
