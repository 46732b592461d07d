"""A flipped bit in a file that is read to be written anew: it must not come back under a new sha256, where no check would find it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.damaged_sets import flip_a_bit
from scripts.made_set import MadeSet
from storage.changes import append, relabel, remove
from storage.changes import replace as replace_items
from storage.compact import compact_set
from storage.errors import DamagedError
from storage.export import export_set
from storage.import_features import import_features
from storage.import_options import ImportOptions
from storage.index import committed_index
from storage.takedown import Request, take_down
from storage.transfer import copy_set
from storage.verify import listed_files, verify_set
from storage.versions import list_versions, read_manifest
from tests.storage.test_takedown import write_run

FLIPS = 4  # of each operation
SOME = np.ones((1, 3), np.float16)


def imported(made: MadeSet, **options: Any) -> object:
    file = Path(str(made.name.root)) / "vectors.npz"
    np.savez(file, keys=["new", "newer"], embeddings=made.embeddings([0, 77]))
    result = import_features(file, made.uri, ImportOptions(like=made.uri, corpus_id="one", **options))
    return result.version, result.rows, result.bytes


def exported(made: MadeSet) -> object:
    path = Path(str(made.name.root)) / "out.parquet"
    export_set(made.open(), path, force=True)
    return path.read_bytes()


def copied(made: MadeSet) -> object:
    target = replace(made.name, name="copy")
    copy_set(made.name, target)
    return listed(replace(made, name=target))


OPERATIONS: dict[str, Callable[[MadeSet], object]] = {
    "takedown of an image": lambda made: take_down(made.name.root, None, Request(images=(made.digest(3).hex(),)), do_it=True).done,
    "takedown of a key": lambda made: take_down(made.name.root, made.name, Request(keys=("k3",)), do_it=True).done,
    "compact": lambda made: compact_set(made.name, do_it=True).after,
    "append": lambda made: append(made.uri, ["new"], SOME, corpus="one").version,
    "replace": lambda made: replace_items(made.uri, ["k1"], SOME, corpus="one").version,
    "remove": lambda made: remove(made.uri, ["k1"]).version,
    "relabel": lambda made: relabel(made.uri, {"k1": "other"}).version,
    "import": imported,
    "import that appends": lambda made: imported(made, mode="append"),
    "export": exported,
    "copy": copied,
    "index": lambda made: {words.tobytes() for block in committed_index(made.name).digests() for words in block},
}


def listed(made: MadeSet) -> set[str]:
    return set(listed_files({version: read_manifest(made.folder, version) for version in list_versions(made.folder)}))


@pytest.fixture(scope="module")
def template(make_set: Callable[..., MadeSet]) -> MadeSet:
    made = make_set()
    made.commit("one", {f"k{i}": i for i in range(6)}, per_shard=2, rejected=["bad"])
    made.commit("two", {f"m{i}": 10 + i for i in range(3)}, per_shard=1)
    remove(made.uri, ["k5"])
    return made


def twin(made: MadeSet, root: Path) -> MadeSet:
    assert isinstance(made.name.root, Path)
    shutil.copytree(made.name.root, root)
    return replace(made, name=replace(made.name, root=root))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_flipped_bit_is_told_or_stays_what_it_is(template: MadeSet, tmp_path: Path, operation: str) -> None:
    act, draw = OPERATIONS[operation], random.Random(operation)
    sound = twin(template, tmp_path / "sound")
    expected = act(sound)
    allowed = listed(template) | listed(sound)
    for number in range(FLIPS):
        made = twin(template, tmp_path / str(number))
        assert isinstance(made.folder, Path)
        path = draw.choice(sorted(each for kind in ("items", "rejects", "golden") for each in (made.folder / kind).iterdir()))
        flip_a_bit(path, draw)
        try:
            found = act(made)
        except DamagedError as error:
            told = str(error)
        else:
            told = ""
            assert found == expected or (operation == "index" and isinstance(found, set) and found < expected)  # type: ignore[operator]
        assert not told or path.name in told, "the file is named"
        assert not told or "store repair" in told or "store verify" in told, "and the way out"
        assert listed(made) <= allowed, "nothing is listed that is not listed without the damage"
        if (now := str(path.relative_to(made.folder))) in listed(made) and path.exists():
            assert now in {finding.path for finding in verify_set(made.name, full=True).findings if finding.is_damage}


def test_an_export_passes_on_no_damaged_embedding(template: MadeSet, tmp_path: Path) -> None:
    root = shutil.copytree(Path(str(template.name.root)), tmp_path / "copy")
    made = replace(template, name=replace(template.name, root=root))
    shard = Path(str(made.folder / made.open().manifest.shards[0].path))
    flip_a_bit(shard, random.Random(0))
    with pytest.raises(DamagedError, match=f"{shard.name} is damaged"):
        exported(made)


def test_a_takedown_does_not_vouch_for_a_receipt_that_was_damaged_before(make_set: Callable[..., MadeSet]) -> None:
    made = make_set()
    made.commit("one", {"a/1": 1, "a/2": 2})
    run = write_run(made, [("a/1", 1, 0), ("a/2", 2, 1)], made.open().manifest.shards[0])
    run.write_page("<html>")
    run.write_report({"rows": 2})
    path = Path(str(run.path / "receipts" / "000000.parquet"))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"stamp-1", b"stamp-9"))
    assert path.read_bytes() != data
    take_down(made.name.root, None, Request(images=(made.digest(2).hex(),)), do_it=True)
    damaged = [finding.path for finding in verify_set(made.name, full=True).findings if finding.is_damage]
    assert damaged == [f"runs/{run.run_id}/receipts/000000.parquet"]
