"""The printed queries, run for real in DuckDB and Polars on Parquet shards, and with h5py on HDF5 shards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from storage.commit import commit
from storage.feature_set import FeatureSet, open_set
from storage.files import FileEntry, private_file, publish_by_content
from storage.names import SetName
from storage.queries import duckdb_query, h5py_snippet, polars_query
from storage.shard import SHARD_FORMATS, ShardLayout

if TYPE_CHECKING:
    from scripts.made_set import MadeSet

MakeSet = Callable[..., "MadeSet"]
Row = dict[str, Any]
PICTURES = {"b": 3, "a": 1, "c": 3, "e": 5, "d": 2, "f": 1, "ü/é.png": 8}
OTHERS = {"a": 3, "q": 9}
COLUMNS = ["key", "corpus", "label", "split", "embedding"]


def run_duckdb(feature_set: FeatureSet) -> list[Row]:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        answer = connection.sql(duckdb_query(feature_set))
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]


def run_polars(feature_set: FeatureSet) -> list[Row]:
    pytest.importorskip("polars")
    names: Row = {}
    exec(polars_query(feature_set), names)
    rows: list[Row] = names["table"].to_dicts()
    return rows


def run_h5py(feature_set: FeatureSet) -> list[Row]:
    names: Row = {}
    exec(h5py_snippet(feature_set), names)
    rows = names["items"].select(["key", "corpus", "label", "split"]).to_pylist()
    return [{**row, "embedding": value.tobytes()} for row, value in zip(rows, names["embeddings"], strict=True)]


def in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["corpus"], row["key"]))


def expected(feature_set: FeatureSet) -> list[Row]:
    items, (_, values) = feature_set.items.to_pylist(), feature_set.to_numpy()
    rows = [{**item, "embedding": value.tobytes()} for item, value in zip(items, values, strict=True)]
    return in_order([{name: row[name] for name in COLUMNS} for row in rows])


Run = Callable[[FeatureSet], list[Row]]


@pytest.fixture(params=[run_duckdb, run_polars, run_h5py])
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.param
    return found


@pytest.fixture
def make(make_set: MakeSet, run: Run) -> MakeSet:
    """Makes sets with the shards that `run` reads."""
    return partial(make_set, shard_format="hdf5" if run is run_h5py else "parquet")


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "dtype"), [((3,), "float16"), ((2, 2, 3), "float32")])
def test_a_query_gives_each_item_with_its_embedding_once(make: MakeSet, run: Run, shape: tuple[int, ...], dtype: str) -> None:
    made = make(shape, dtype)
    made.commit("one", PICTURES, per_shard=2)
    made.commit("two", OTHERS)
    rows = run(made.open())
    assert list(rows[0]) == COLUMNS
    assert len(rows) == 9
    assert in_order(rows) == expected(made.open())


def test_a_query_reads_the_version_it_was_made_for(make: MakeSet, run: Run) -> None:
    made = make()
    made.commit("one", PICTURES)
    first = made.open()
    made.commit("one", {"other": 99})
    assert in_order(run(first)) == expected(first)
    assert [row["key"] for row in run(made.open())] == ["other"]


def test_a_picture_that_stands_in_two_shards_is_joined_from_the_items_own(make: MakeSet, run: Run) -> None:
    made = make()
    made.commit("one", {"a": 1, "b": 2})
    made.commit("two", {"c": 1, "d": 4})
    assert len(set(made.open().items["shard"].to_pylist())) == 2
    assert in_order(run(made.open())) == expected(made.open())


def test_other_views_are_left_out(make: MakeSet, run: Run) -> None:
    made = make()
    shard = write_views(made, [1, 2])
    items = made.items_table("one", {"a": 1, "b": 2}, {1: (shard.sha256, 0), 2: (shard.sha256, 2)})
    commit(made.name, None, made.draft_of("one", items, [shard]), "one")
    assert in_order(run(made.open())) == expected(made.open())


def write_views(made: MadeSet, pictures: list[int]) -> FileEntry:
    """A shard with two views of each picture."""
    folder, kind = made.folder / "shards", SHARD_FORMATS[made.description.shard_format]
    with private_file(folder) as partial:
        writer = kind.writer(partial, ShardLayout(made.description.shape, made.description.dtype, made.description.space.id))
        for picture in pictures:
            plain = made.embedding(picture)
            writer.append([made.digest(picture)] * 2, [0, 1], np.stack([plain, np.negative(plain)]))
        rows = writer.close()
        sha256, size = publish_by_content(partial, folder, kind.suffix)
    return FileEntry(f"shards/{sha256}{kind.suffix}", sha256, size, rows)


@pytest.mark.parametrize(
    "folder", ["with space", "o'brien", "ünï", 'quo"te', "both'\"", "a[1]b", "a*b", "a{1}b", "back\\slash", "per%cent"]
)
def test_a_store_in_any_folder_can_be_queried(make: MakeSet, tmp_path: Path, run: Run, folder: str) -> None:
    made = make(root=tmp_path / folder)
    made.commit("one", PICTURES)
    assert in_order(run(made.open())) == expected(made.open())


def test_a_query_of_a_relative_store_works_where_it_was_made(make: MakeSet, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    made = make()
    made.commit("one", PICTURES)
    monkeypatch.chdir(made.name.root)
    feature_set = open_set(SetName(Path("."), "team", "set"))
    assert in_order(run(feature_set)) == expected(feature_set)


@pytest.mark.parametrize(("query", "marker"), [(duckdb_query, "--"), (polars_query, "#"), (h5py_snippet, "#")])
def test_the_query_of_a_version_without_rows_is_a_comment_only(make_set: MakeSet, query: Callable[[FeatureSet], str], marker: str) -> None:
    made = make_set()
    made.commit("one", {}, rejected=["bad"])
    lines = query(made.open()).splitlines()
    assert lines
    assert all(line.startswith(f"{marker} ") for line in lines)


def test_a_corpus_without_rows_beside_another_does_not_disturb_a_query(make: MakeSet, run: Run) -> None:
    made = make()
    made.commit("one", {}, rejected=["bad"])
    made.commit("two", OTHERS)
    assert in_order(run(made.open())) == expected(made.open())
