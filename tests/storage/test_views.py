"""Sets with views: what readers get by default and on request, and what queries, exports and other sets make of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from storage.commit import commit
from storage.digests import DigestMap, words_of
from storage.errors import DamagedError, SpaceMismatchError, UsageError
from storage.export import export_set
from storage.feature_set import open_set
from storage.import_features import import_features
from storage.import_options import ImportOptions
from storage.lending import copy_embeddings, find_lenders
from storage.queries import duckdb_query, h5py_snippet, polars_query
from storage.shard import SHARD_FORMATS, ShardLayout

if TYPE_CHECKING:
    from scripts.made_set import MadeSet

MakeSet = Callable[..., "MadeSet"]
PICTURES = {"b": 3, "a": 1, "c": 3, "e": 5, "d": 2, "f": 1, "g": 8}  # b and c are one image, a and f another
VIEWS = ("plain", "flip", "crop:0.35-1:0.75-1.33333")
KINDS = pytest.mark.parametrize("kind", SHARD_FORMATS)


@pytest.fixture(params=SHARD_FORMATS)
def made(make_set: MakeSet, request: pytest.FixtureRequest) -> MadeSet:
    made = make_set((2, 3), shard_format=request.param, views=VIEWS, view_seed=5)
    made.commit("one", PICTURES, per_shard=2)
    return made


def expected(made: MadeSet, keys: list[str], view: int) -> npt.NDArray[np.generic]:
    return np.stack([made.embedding(PICTURES[key], view) for key in keys])


def test_items_are_counted_once_and_embeddings_by_view(made: MadeSet) -> None:
    feature_set = made.open()
    assert (feature_set.rows, feature_set.views, feature_set.manifest.counts["embeddings"]) == (7, VIEWS, 15)


def test_readers_get_view_0_unless_they_ask(made: MadeSet) -> None:
    feature_set = made.open()
    keys, embeddings = feature_set.to_numpy()
    assert keys == sorted(PICTURES)
    np.testing.assert_array_equal(embeddings, expected(made, keys, 0))
    np.testing.assert_array_equal(np.array(feature_set.to_arrow()["embedding"].to_pylist()), embeddings.reshape(7, -1))
    for batch in feature_set.batches(3):
        np.testing.assert_array_equal(batch.embeddings, expected(made, batch.keys, 0))


@pytest.mark.parametrize("view", [0, 1, 2])
def test_one_view_can_be_asked_for(made: MadeSet, view: int) -> None:
    feature_set = made.open()
    keys, embeddings = feature_set.to_numpy(view=view)
    np.testing.assert_array_equal(embeddings, expected(made, keys, view))
    for batch in feature_set.batches(2, view=view):
        np.testing.assert_array_equal(batch.embeddings, expected(made, batch.keys, view))


def test_all_views_can_be_asked_for(made: MadeSet) -> None:
    feature_set = made.open()
    keys, embeddings = feature_set.to_numpy(view=None)
    assert embeddings.shape == (7, 3, 2, 3)
    for view in range(3):
        np.testing.assert_array_equal(embeddings[:, view], expected(made, keys, view))
    [batch] = feature_set.batches(positions=[1, 5], view=None)
    for view in range(3):
        np.testing.assert_array_equal(batch.embeddings[:, view], expected(made, batch.keys, view))


def test_a_set_without_views_has_an_axis_of_one(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("one", PICTURES)
    np.testing.assert_array_equal(made.open().to_numpy(view=None)[1][:, 0], made.open().to_numpy()[1])


@pytest.mark.parametrize("view", [-1, 3])
def test_a_view_that_is_not_there_is_refused_and_the_others_are_named(made: MadeSet, view: int) -> None:
    with pytest.raises(UsageError, match=rf"has no view {view}; it has 0 plain, 1 flip, 2 crop:0\.35-1"):
        made.open().to_numpy(view=view)
    with pytest.raises(UsageError, match="has no view"):
        next(made.open().batches(view=view))


def test_an_item_whose_last_views_are_missing_is_damage(make_set: MakeSet) -> None:
    made = make_set(views=VIEWS, view_seed=5)
    shard = made.write_shard([1, 2])
    items = made.items_table("one", {"a": 1, "b": 2}, {1: (shard.sha256, 0), 2: (shard.sha256, 4)})
    commit(made.name, None, made.draft_of("one", items, [shard]), "one")
    assert made.open().to_numpy()[0] == ["a", "b"]
    with pytest.raises(DamagedError, match="an item points at row 6"):
        made.open().to_numpy(view=None)


def test_the_printed_queries_give_each_item_once_with_view_0(made: MadeSet) -> None:
    feature_set = made.open()
    keys, embeddings = feature_set.to_numpy()
    wanted = {key: row.tobytes() for key, row in zip(keys, embeddings, strict=True)}
    if made.description.shard_format == "hdf5":
        names: dict[str, object] = {}
        exec(h5py_snippet(feature_set), names)
        np.testing.assert_array_equal(names["embeddings"], embeddings)  # type: ignore[arg-type]
        return
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        rows = connection.sql(duckdb_query(feature_set)).fetchall()
    assert {row[0]: row[4] for row in rows} == wanted
    assert len(rows) == 7
    pytest.importorskip("polars")
    names = {}
    exec(polars_query(feature_set), names)
    rows = names["table"].rows()  # type: ignore[attr-defined]
    assert {row[0]: row[4] for row in rows} == wanted
    assert len(rows) == 7


def test_an_export_has_view_0_and_comes_back_as_a_plain_set(made: MadeSet, tmp_path: Path) -> None:
    flat = tmp_path / "flat.parquet"
    assert export_set(made.open(), flat).rows == 7
    origin = json.loads(pq.read_schema(flat).metadata[b"permafrost"])
    assert origin["space"] == made.open().space.plain.to_dict()
    result = import_features(flat, f"{tmp_path}/store/team/plain")
    back = open_set(result.set)
    assert (back.views, back.space) == (("plain",), made.open().space.plain)
    np.testing.assert_array_equal(back.to_numpy()[1], made.open().to_numpy()[1])


def test_an_import_in_the_space_of_a_set_with_views_is_in_that_of_its_view_0(made: MadeSet, tmp_path: Path) -> None:
    np.savez(tmp_path / "flat.npz", keys=np.array(["x"]), embeddings=np.ones((1, 2, 3), np.float16))
    result = import_features(tmp_path / "flat.npz", f"{tmp_path}/store/team/like", ImportOptions(like=made.uri))
    assert open_set(result.set).space == made.open().space.plain
    assert open_set(result.set).golden().embeddings.shape == (2, 2, 3)
    with pytest.raises(SpaceMismatchError, match="they differ in views, view_seed"):
        import_features(tmp_path / "flat.npz", made.uri, ImportOptions(like=made.uri, add=True))


def test_a_stated_space_with_views_is_refused(made: MadeSet, tmp_path: Path) -> None:
    np.savez(tmp_path / "flat.npz", keys=np.array(["x"]), embeddings=np.ones((1, 2, 3), np.float16))
    (tmp_path / "space.json").write_text(json.dumps(made.open().space.to_dict()))
    with pytest.raises(UsageError, match=r"one embedding a row, so the views of its space are \['plain'\]"):
        import_features(tmp_path / "flat.npz", f"{tmp_path}/store/team/new", ImportOptions(space=tmp_path / "space.json"))


def borrow(borrower: MadeSet, pictures: list[int]) -> dict[int, list[bytes]]:
    """The views of each picture that the borrower's new shards hold, after copying."""
    description = borrower.description
    layout = ShardLayout(description.shape, description.dtype, description.space.id)
    kind = SHARD_FORMATS[description.shard_format]
    numbers = {borrower.digest(picture): picture for picture in pictures}
    found = {}
    wanted = DigestMap()
    wanted.add(words_of(list(numbers)))
    for copied in copy_embeddings(wanted, find_lenders(borrower.name, description.space), borrower.name, kind, layout):
        with closing(kind.reader(borrower.folder / copied.shard.path)) as reader:
            assert reader.rows == copied.shard.rows == borrower.views * len(copied.digests)
            assert reader.views().tolist() == list(range(borrower.views)) * len(copied.digests)
            for digest, row in zip(copied.digests, copied.rows, strict=True):
                assert set(reader.digests()[row : row + borrower.views]) == {digest}
                found[numbers[digest]] = [value.tobytes() for value in reader.read(row, row + borrower.views)]
    return found


@KINDS
def test_a_set_of_the_same_space_lends_all_views_together(make_set: MakeSet, tmp_path: Path, kind: str) -> None:
    make_set(root=tmp_path, name="one", views=VIEWS, view_seed=5, shard_format=kind).commit("a", {f"k{n}": n for n in range(1, 6)}, 2)
    borrower = make_set(root=tmp_path, name="two", views=VIEWS, view_seed=5)
    assert borrow(borrower, [5, 2, 9]) == {n: [borrower.embedding(n, view).tobytes() for view in range(3)] for n in (2, 5)}


@KINDS
def test_a_set_with_views_lends_those_that_the_other_one_wants(make_set: MakeSet, tmp_path: Path, kind: str) -> None:
    lender = make_set(root=tmp_path, name="one", views=("plain", VIEWS[2], "flip"), view_seed=5, shard_format=kind)
    lender.commit("a", {"k": 1, "l": 2, "m": 3})
    plain = make_set(root=tmp_path, name="plain")
    assert borrow(plain, [3, 1]) == {n: [lender.embedding(n).tobytes()] for n in (1, 3)}
    flipped = make_set(root=tmp_path, name="flipped", views=("plain", "flip"))
    assert borrow(flipped, [3, 1]) == {n: [lender.embedding(n, view).tobytes() for view in (0, 2)] for n in (1, 3)}


def test_a_plain_set_lends_nothing_to_one_with_views(make_set: MakeSet, tmp_path: Path) -> None:
    make_set(root=tmp_path, name="one").commit("a", {"k": 1})
    assert borrow(make_set(root=tmp_path, name="two", views=VIEWS, view_seed=5), [1]) == {}


def test_an_image_is_not_lent_if_one_of_its_views_cannot_be_stored(make_set: MakeSet, tmp_path: Path) -> None:
    wide = make_set((3,), "float32", root=tmp_path, name="wide", views=VIEWS, view_seed=5)
    values = np.ones((6, 3), np.float32)
    values[4] = 1e6  # view 1 of the second picture
    object.__setattr__(wide, "embeddings", lambda pictures: values[: 3 * len(pictures)])
    wide.commit("a", {"k": 1, "l": 2})
    assert borrow(make_set((3,), root=tmp_path, name="narrow", views=VIEWS, view_seed=5), [1, 2]).keys() == {1}


def test_items_that_point_at_another_view_lend_nothing(make_set: MakeSet, tmp_path: Path) -> None:
    lender = make_set(root=tmp_path, name="one", views=VIEWS, view_seed=5)
    shard = lender.write_shard([1, 2])
    shifted = lender.items_table("a", {"k": 1}, {1: (shard.sha256, 1)})
    commit(lender.name, None, lender.draft_of("a", shifted, [shard]), "a")
    assert borrow(make_set(root=tmp_path, name="two"), [1]) == {}
