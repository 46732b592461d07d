"""What a repair gave up comes back from the file that it was made of, as it was, and nothing else of the set changes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from storage import item_borders
from storage.changes import append, relabel, remove, replace
from storage.errors import UsageError
from storage.expire import expire_versions
from storage.feature_set import open_set
from storage.import_features import ImportResult, import_features
from storage.import_options import ImportOptions
from storage.names import parse_set
from storage.repair import repair_set
from storage.verify import verify_set
from storage.versions import list_versions
from storage.way_out import ways_to_pending

KEYS = [f"{number:02d}" for number in range(12)]
VALUES = np.random.default_rng(7).standard_normal((12, 4)).astype(np.float32)


@dataclass
class Desk:
    """A set of a file, and what was done to it since: 01 removed, 02 replaced, 03 relabelled, `new` appended."""

    folder: Path
    uri: str

    def read_in(self, keys: list[str], values: npt.NDArray[Any], mode: str = "pending", **columns: Any) -> ImportResult:
        np.savez(self.folder / "file.npz", keys=np.array(keys), embeddings=values, **columns)
        return import_features(self.folder / "file.npz", self.uri, ImportOptions(space=self.folder / "space.json", mode=mode))

    def rows(self) -> dict[str, Any]:
        """By key what is said of it, with its embedding."""
        feature_set = open_set(self.uri)
        table = feature_set.items.drop_columns(["shard", "row"])
        return {row["key"]: (row, value.tolist()) for row, value in zip(table.to_pylist(), feature_set.to_numpy()[1], strict=True)}

    def lose(self, folder: str, number: int = 0) -> int:
        """Give up a file of the newest version; returns how many items are pending then."""
        [state] = open_set(self.uri).manifest.corpora.values()
        (Path(self.uri) / folder / f"{getattr(state, folder)[number].sha256}.parquet").unlink()
        repair_set(parse_set(self.uri), give_up=True)
        return open_set(self.uri).manifest.counts["pending"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "space.json").write_text(json.dumps({"model": "m", "weights": "w"}))
    desk = Desk(tmp_path, str(tmp_path / "store" / "team" / "set"))
    desk.read_in(KEYS, VALUES, "mirror", labels=np.array(["old"] * 12), price=np.arange(12))
    remove(desk.uri, ["01"])
    replace(desk.uri, ["02"], -VALUES[2:3])
    relabel(desk.uri, {"03": "better"})
    append(desk.uri, ["new"], VALUES[:1] * 2)
    return desk


def lose_first_shard(desk: Desk) -> int:
    [first] = open_set(f"{desk.uri}@1").manifest.shards
    (Path(desk.uri) / first.path).unlink()
    repair_set(parse_set(desk.uri), give_up=True)
    return open_set(desk.uri).manifest.counts["pending"]


def test_items_of_a_lost_shard_come_back_as_they_were_and_nothing_else(desk: Desk) -> None:
    before = desk.rows()
    assert lose_first_shard(desk) == 10
    [way] = ways_to_pending(parse_set(desk.uri))
    assert f"permafrost store import FILE {desk.uri} --pending --like {desk.uri}`" in way
    assert str(desk.folder / "file.npz") in way
    first = desk.read_in(KEYS[:6], VALUES[:6], labels=np.array(["old"] * 6))
    assert (first.listed, first.rows, first.skipped) == (4, 4, {"not-pending": 2})
    assert open_set(desk.uri).manifest.counts["pending"] == 6
    second = desk.read_in(KEYS, VALUES, labels=np.array(["old"] * 12))
    assert (second.listed, second.rows, second.skipped) == (6, 6, {"not-pending": 6})
    assert desk.rows() == before
    counts = open_set(desk.uri).manifest.counts
    assert (counts["listed"], counts["rows"], counts["pending"]) == (12, 12, 0)
    expire_versions(parse_set(desk.uri), 1, None, remove_them=True)
    assert verify_set(parse_set(desk.uri), full=True).sound
    versions = list_versions(parse_set(desk.uri).folder)
    third = desk.read_in(KEYS, VALUES)
    assert (third.listed, third.rows, third.committed, third.skipped) == (0, 0, False, {"not-pending": 12}), "nothing is left to bring back"
    assert (third.before, third.after, third.version) == (12, 12, versions[-1])
    assert list_versions(parse_set(desk.uri).folder) == versions


def test_all_files_are_named_that_the_corpus_was_made_of(desk: Desk) -> None:
    first, statement = desk.folder / "file.npz", desk.folder / "space.json"
    for number in range(3):
        file = desk.folder / f"more-{number}.npz"
        np.savez(file, keys=np.array([f"more-{number}"]), embeddings=VALUES[number : number + 1] * 3)
        import_features(file, desk.uri, ImportOptions(space=statement, mode="append"))
    lose_first_shard(desk)
    [way] = ways_to_pending(parse_set(desk.uri))
    assert f"({', '.join(str(file) for file in (first, *(desk.folder / f'more-{number}.npz' for number in range(3))))})" in way
    import_features(file, desk.uri, ImportOptions(space=statement))
    [state] = open_set(desk.uri).manifest.corpora.values()
    (Path(desk.uri) / "shards" / f"{state.shards[0]}.parquet").unlink()
    repair_set(parse_set(desk.uri), give_up=True)
    [way] = ways_to_pending(parse_set(desk.uri))
    assert f"({file})" in way, "another file has taken the place of all"


def test_items_can_be_pending_only_where_there_are_some(desk: Desk) -> None:
    with pytest.raises(UsageError, match="has no corpus 'other' of which items could be pending: --corpus-id names one of imported"):
        import_features(
            desk.folder / "file.npz", desk.uri, ImportOptions(space=desk.folder / "space.json", mode="pending", corpus_id="other")
        )


def test_another_embedding_of_a_pending_key_is_passed_over(desk: Desk) -> None:
    before = desk.rows()
    lose_first_shard(desk)
    with pytest.raises(UsageError, match=r"file\.npz has none of the pending items of corpus 'imported', by key and digest"):
        desk.read_in(["01", "02", "zz"], VALUES[:3])
    with pytest.raises(UsageError, match="has none of the pending items"):
        desk.read_in(["04"], -VALUES[4:5])
    result = desk.read_in(["04", "05"], np.stack([-VALUES[4], VALUES[5]]))
    assert (result.rows, result.listed, result.skipped) == (1, 1, {"not-pending": 1})
    assert desk.rows() == {key: before[key] for key in ("02", "05", "new")}
    assert open_set(desk.uri).manifest.counts["pending"] == 9


def test_when_older_versions_have_expired_nobody_knows_what_is_pending(desk: Desk) -> None:
    lose_first_shard(desk)
    expire_versions(parse_set(desk.uri), 1, None, remove_them=True)
    with pytest.raises(UsageError, match="10 items of corpus 'imported' are pending, and no version tells any more which they are"):
        desk.read_in(KEYS, VALUES)


def test_of_a_lost_item_file_all_keys_come_that_could_have_been_in_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rows in {"MIN_ROWS": 2, "MEAN_ROWS": 4, "MAX_ROWS": 5}.items():
        monkeypatch.setattr(item_borders, name, rows)
    relabel(desk.uri, {"03": "best"})
    before = desk.rows()
    entries = open_set(desk.uri).manifest.corpora["imported"].items
    ends = np.cumsum([entry.rows for entry in entries])
    lost = sorted(before)[ends[0] : ends[1]]
    assert "01" not in lost
    assert desk.lose("items", 1) == len(lost)
    result = desk.read_in(KEYS, VALUES, labels=np.array(["old"] * 12), price=np.arange(12))
    assert result.rows == len(lost)
    assert desk.rows().keys() == before.keys(), "01 was removed, and stood in another file"
    assert open_set(desk.uri).manifest.counts["pending"] == 0
