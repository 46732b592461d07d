"""Exported files, read by the tools themselves and never by the code that wrote them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import AlreadyExistsError, DamagedError, NotFoundError, UsageError
from storage.export import export_set
from storage.feature_set import FeatureSet
from storage.shard import SHARD_FORMATS
from storage.space import Space

if TYPE_CHECKING:
    from scripts.made_set import MadeSet

MakeSet = Callable[..., "MadeSet"]
Row = dict[str, Any]
PICTURES = {"b": 3, "a": 1, "c": 3, "e": 5, "d": 2, "f": 1, "ü/é.png": 8}
ENDINGS = (".parquet", ".h5", ".npz")
KINDS = pytest.mark.parametrize(("shape", "dtype"), [((3,), "float16"), ((2, 2, 3), "float32")])


def read_parquet(path: Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    table = pq.read_table(path)
    return table.to_pydict(), json.loads(table.schema.metadata[b"permafrost"])


def read_h5(path: Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    with h5py.File(path) as file:
        columns = {name: list(data.asstr()[:] if h5py.check_string_dtype(data.dtype) else data[:]) for name, data in file.items()}
        return columns, json.loads(file.attrs["permafrost"])


def read_npz(path: Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    with np.load(path, allow_pickle=False) as file:
        names = {"keys": "key", "corpora": "corpus", "labels": "label", "splits": "split", "digests": "digest", "embeddings": "embedding"}
        return {names.get(name, name): list(file[name]) for name in file.files if name != "permafrost"}, json.loads(str(file["permafrost"]))


READERS = {".parquet": read_parquet, ".h5": read_h5, ".npz": read_npz}


def rows_of(path: Path) -> list[Row]:
    """One dict an item, sorted by key; missing texts are None, embeddings and digests bytes."""
    columns, _ = READERS[path.suffix](path)
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    plain = [{name: value.tobytes() if isinstance(value, np.ndarray) else value for name, value in row.items()} for row in rows]
    return sorted(({n: None if isinstance(v, str) and not v else v for n, v in row.items()} for row in plain), key=lambda row: row["key"])


def expected(feature_set: FeatureSet) -> list[Row]:
    items = feature_set.items.drop_columns(["stamp", "shard", "row"]).to_pylist()
    rows = [{**item, "embedding": value.tobytes()} for item, value in zip(items, feature_set.to_numpy()[1], strict=True)]
    return sorted(rows, key=lambda row: row["key"])


@KINDS
@pytest.mark.parametrize("shard_format", SHARD_FORMATS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_item_is_there_with_all_it_has(
    make_set: MakeSet, tmp_path: Path, ending: str, shard_format: str, shape: tuple[int, ...], dtype: str
) -> None:
    made = make_set(shape, dtype, shard_format)
    made.commit("one", PICTURES, per_shard=2)
    path = tmp_path / f"flat{ending}"
    exported = export_set(made.open(), path)
    assert (exported.rows, exported.version, exported.bytes) == (7, 1, path.stat().st_size)
    assert rows_of(path) == expected(made.open())


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_file_names_its_set_version_and_space(make_set: MakeSet, tmp_path: Path, ending: str) -> None:
    made = make_set((2, 3))
    made.commit("one", PICTURES)
    made.commit("one", {"a": 1})
    export_set(made.open("1"), tmp_path / f"flat{ending}")
    _, note = READERS[ending](tmp_path / f"flat{ending}")
    assert (note["set"], note["version"], note["shape"], note["dtype"]) == ("team/set", 1, [2, 3], "float16")
    assert note["space_id"] == Space.from_dict(note["space"]).id == made.description.space.id


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_of_many_batches_is_written_a_batch_at_a_time(
    make_set: MakeSet, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.export.BATCH_BYTES", 20)  # three embeddings
    monkeypatch.setattr("storage.export.TEXTS_AT_ONCE", 4)
    made = make_set()
    made.commit("one", {f"k{i:02d}": i for i in range(20)}, per_shard=7)
    path = tmp_path / f"flat{ending}"
    export_set(made.open(), path)
    assert rows_of(path) == expected(made.open())
    if ending == ".parquet":
        assert pq.ParquetFile(path).metadata.num_row_groups == 7
    if ending == ".h5":
        with h5py.File(path) as file:
            assert file["embedding"].chunks == (3, 3)


@pytest.mark.parametrize("ending", ENDINGS)
def test_further_columns_of_the_items_come_along(make_set: MakeSet, tmp_path: Path, ending: str) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2, "c": 3})
    feature_set = made.open()
    items = feature_set.items.append_column("photographer", pa.array(["ann", None, "öz"])).append_column(
        "year", pa.array([1999, 2001, 2024])
    )
    feature_set.__dict__["items"] = items.append_column("stars", pa.array([1.5, None, 3.0]))  # as if the listing had had them
    export_set(feature_set, tmp_path / f"flat{ending}")
    rows = rows_of(tmp_path / f"flat{ending}")
    assert [row["photographer"] for row in rows] == ["ann", None, "öz"]
    assert [row["year"] for row in rows] == [1999, 2001, 2024]
    assert [row["stars"] for row in rows[::2]] == [1.5, 3.0]
    assert rows[1]["stars"] is None if ending == ".parquet" else np.isnan(rows[1]["stars"])


ODD_COLUMNS = {
    "tags": pa.array([["a", "b"], [], None]),
    "box": pa.array([{"x": 1}, None, {"x": 2}]),
    "seen": pa.array([0, None, 5], pa.timestamp("s")),
    "whole": pa.array([1, None, 3]),
    "good": pa.array([True, False, True]),
}


@pytest.mark.parametrize("ending", [".h5", ".npz"])
def test_columns_of_any_type_become_text_where_there_is_nothing_else(make_set: MakeSet, tmp_path: Path, ending: str) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2, "c": 3})
    feature_set = made.open()
    table = feature_set.items
    for name, column in ODD_COLUMNS.items():
        table = table.append_column(name, column)
    feature_set.__dict__["items"] = table
    export_set(feature_set, tmp_path / f"flat{ending}")
    rows = rows_of(tmp_path / f"flat{ending}")
    assert [row["tags"] for row in rows] == ["a|b", None, None]
    assert [row["box"] for row in rows] == ['{"x": 1}', None, '{"x": 2}']
    assert [row["seen"] for row in rows] == ["1970-01-01 00:00:00", None, "1970-01-01 00:00:05"]
    assert [row["whole"] for row in rows] == ["1", None, "3"]
    assert [bool(row["good"]) for row in rows] == [True, False, True]


@pytest.mark.parametrize(
    ("ending", "column"),
    [(".npz", name) for name in ("keys", "embeddings", "labels", "permafrost", "x" * 70_000)]
    + [(".h5", name) for name in (".", "a/b", "permafrost")],
)
def test_attributes_that_would_hide_something_else_are_refused(make_set: MakeSet, tmp_path: Path, ending: str, column: str) -> None:
    made = make_set()
    made.commit("one", {"a": 1})
    feature_set = made.open()
    feature_set.__dict__["items"] = feature_set.items.append_column(column, pa.array(["V"]))
    with pytest.raises(UsageError, match="cannot hold the attribute"):
        export_set(feature_set, tmp_path / f"flat{ending}")
    assert list(tmp_path.glob("flat*")) == []


def test_a_nul_character_is_no_end_of_a_text_in_hdf5(make_set: MakeSet, tmp_path: Path) -> None:
    made = make_set()
    made.commit("one", {"a": 1})
    feature_set = made.open()
    feature_set.__dict__["items"] = feature_set.items.append_column("note", pa.array(["half\0done"]))
    with pytest.raises(UsageError, match=r"a note with a NUL character: export to \.parquet"):
        export_set(feature_set, tmp_path / "flat.h5")


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_bytes_depend_on_the_content_alone(make_set: MakeSet, tmp_path: Path, ending: str) -> None:
    made = make_set()
    made.commit("one", PICTURES)
    for name in ("one", "two"):
        export_set(made.open(), tmp_path / f"{name}{ending}")
    assert (tmp_path / f"one{ending}").read_bytes() == (tmp_path / f"two{ending}").read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_version_without_rows_is_a_file_without_rows(make_set: MakeSet, tmp_path: Path, ending: str) -> None:
    made = make_set()
    made.commit("one", {}, rejected=["bad"])
    assert export_set(made.open(), tmp_path / f"flat{ending}").rows == 0
    columns, _ = READERS[ending](tmp_path / f"flat{ending}")
    assert set(columns) == {"key", "corpus", "label", "split", "digest", "embedding"}
    assert set(map(len, columns.values())) == {0}


@KINDS
def test_lists_are_of_numbers(make_set: MakeSet, tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    made = make_set(shape, dtype)
    made.commit("one", PICTURES)
    export_set(made.open(), tmp_path / "flat.parquet", "list")
    table = pq.read_table(tmp_path / "flat.parquet").sort_by("key")
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), int(np.prod(shape)))
    keys, values = made.open().to_numpy()
    assert table["key"].to_pylist() == keys
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), values.reshape(7, -1).astype(np.float32))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_is_there_is_replaced_only_by_force(make_set: MakeSet, tmp_path: Path, ending: str) -> None:
    made = make_set()
    made.commit("one", PICTURES)
    path = tmp_path / f"flat{ending}"
    path.write_bytes(b"mine")
    with pytest.raises(AlreadyExistsError, match="--force"):
        export_set(made.open(), path)
    assert path.read_bytes() == b"mine"
    export_set(made.open(), path, force=True)
    assert rows_of(path) == expected(made.open())


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_export_that_fails_leaves_nothing_and_replaces_nothing(make_set: MakeSet, tmp_path: Path, ending: str) -> None:
    made = make_set()
    manifest = made.commit("one", PICTURES, per_shard=2)
    (made.folder / manifest.shards[-1].path).unlink()
    path = tmp_path / f"flat{ending}"
    path.write_bytes(b"mine")
    with pytest.raises(DamagedError, match="is listed but is not there"):
        export_set(made.open(), path, force=True)
    assert path.read_bytes() == b"mine"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "layout", "error", "said"),
    [
        ("flat.csv", "binary", UsageError, "ends in .parquet, .h5 or .npz, got .csv"),
        ("flat", "binary", UsageError, "got no ending"),
        ("flat.h5", "list", UsageError, "--layout list is for .parquet files"),
        ("flat.parquet", "rows", UsageError, "--layout must be one of binary, list; got 'rows'"),
        ("no/flat.h5", "binary", NotFoundError, "no such folder"),
        ("folder.npz", "binary", AlreadyExistsError, "folder.npz is a folder"),
    ],
)
def test_wrong_targets_are_told_in_words(
    make_set: MakeSet, tmp_path: Path, name: str, layout: str, error: type[Exception], said: str
) -> None:
    made = make_set()
    made.commit("one", {"a": 1})
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(error, match=said):
        export_set(made.open(), tmp_path / name, layout, force=True)


FULL_DISK = """
import pathlib, resource, signal, sys
import storage.export, storage
storage.export.BATCH_BYTES = 600
feature_set, path = storage.open(sys.argv[1]), pathlib.Path(sys.argv[2])
storage.export.export_set(feature_set, path)
size, errors = path.stat().st_size, set()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in range(0, size, 997):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        storage.export.export_set(feature_set, path, force=True)
    except OSError as error:
        errors.add(error.errno)
    else:
        errors.add(f"none at {limit}")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(errors, len(list(path.parent.iterdir())))
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_at_any_point_is_an_error_of_the_disk(make_set: MakeSet, tmp_path: Path, ending: str) -> None:
    made = make_set()
    made.commit("one", {f"k{i:03d}": i for i in range(400)}, per_shard=50)
    command = [sys.executable, "-c", FULL_DISK, made.uri, str(tmp_path / f"flat{ending}")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{27} 1\n", "")  # EFBIG
