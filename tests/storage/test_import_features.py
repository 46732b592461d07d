"""Files of embeddings as people have them become sets. One contract for all kinds of file; then what is peculiar to each."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.compact import compact_set
from storage.errors import AlreadyExistsError, ConflictError, DamagedError, NotFoundError, SpaceMismatchError, UsageError
from storage.export import export_set
from storage.feature_set import FeatureSet, open_set
from storage.flat_file import FlatNames
from storage.import_features import ImportResult, import_features
from storage.import_options import ImportOptions
from storage.names import parse_set
from storage.queries import duckdb_query, polars_query
from storage.shard import SHARD_FORMATS
from storage.stand_in import are_stand_ins, is_stand_in, stand_in_digest
from storage.takedown import Request, take_down
from storage.verify import verify_set
from storage.version_diff import diff_versions

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from scripts.made_set import MadeSet

MakeSet = Callable[..., "MadeSet"]
Array = npt.NDArray[Any]
PICTURES = {"b": 3, "a": 1, "c": 3, "e": 5, "d": 2, "f": 1, "ü/é.png": 8}
KEYS = ["b.png", "a.png", "ü/é.png", "c.png"]


def write_npz(path: Path, keys: Sequence[str], embeddings: Array, **attributes: Any) -> None:
    plural = {"label": "labels", "split": "splits", "digest": "digests"}
    named = {plural.get(name, name): value for name, value in attributes.items()}
    np.savez_compressed(path, keys=np.array(keys), embeddings=embeddings, **named)


def write_h5(path: Path, keys: Sequence[str], embeddings: Array, **attributes: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("key", data=list(keys), dtype=h5py.string_dtype())
        file.create_dataset("embedding", data=embeddings, compression="gzip" if len(embeddings) else None)
        for name, value in attributes.items():
            file[name] = value


def write_lists(path: Path, keys: Sequence[str], embeddings: Array, **attributes: Any) -> None:
    rows = pa.array(
        list(embeddings.reshape(len(embeddings), int(np.prod(embeddings.shape[1:])))), pa.list_(pa.from_numpy_dtype(embeddings.dtype))
    )
    pq.write_table(pa.table({"key": list(keys), "embedding": rows, **attributes}), path, row_group_size=2)


def write_fixed_lists(path: Path, keys: Sequence[str], embeddings: Array, **attributes: Any) -> None:
    rows = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), int(np.prod(embeddings.shape[1:])))
    pq.write_table(pa.table({"key": list(keys), "embedding": rows, **attributes}), path)


def write_npy(path: Path, keys: Sequence[str], embeddings: Array) -> None:
    np.save(path, embeddings)
    path.with_suffix(".txt").write_text("".join(f"{key}\n" for key in keys), encoding="utf-8")


WRITERS = {"npz": write_npz, "h5": write_h5, "parquet": write_fixed_lists, "lists.parquet": write_lists}
ALL = {**WRITERS, "npy": write_npy}
KINDS = pytest.mark.parametrize("kind", WRITERS)
ALL_KINDS = pytest.mark.parametrize("kind", ALL)


def values(rows: int = 4, shape: tuple[int, ...] = (6,), dtype: str = "float32") -> Array:
    return np.random.default_rng(rows).standard_normal((rows, *shape)).astype(dtype)


class Desk:
    """A folder with a file of embeddings, a statement of their space, and a store to be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = str(folder / "store" / "team" / "set")
        self.state(model="clip", weights="openai")

    def state(self, **statement: Any) -> None:
        (self.folder / "space.json").write_text(json.dumps(statement))

    def write(self, kind: str, keys: Sequence[str], embeddings: Array, **attributes: Any) -> None:
        self.file = self.folder / f"embeddings.{kind}"
        ALL[kind](self.file, keys, embeddings, **attributes)

    def read_in(self, **options: Any) -> ImportResult:
        stated = {} if "like" in options or "space" in options else {"space": self.folder / "space.json"}
        keys = {"keys": self.file.with_suffix(".txt")} if self.file.suffix == ".npy" else {}
        return import_features(self.file, self.uri, ImportOptions(**{**stated, **keys, **options}))

    def open(self) -> FeatureSet:
        return open_set(self.uri)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def by_key(feature_set: FeatureSet) -> dict[str, bytes]:
    return {key: row.tobytes() for key, row in zip(*feature_set.to_numpy(), strict=True)}


@ALL_KINDS
@pytest.mark.parametrize("shard_format", SHARD_FORMATS)
def test_keys_and_embeddings_arrive_bit_for_bit(desk: Desk, kind: str, shard_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.import_rows.BATCH_BYTES", 60)  # two rows a batch
    monkeypatch.setattr("storage.import_rows.SHARD_BYTES", 80)  # three rows at most, so several shards
    keys, given = [f"{i}.png" for i in range(9)], values(9)
    desk.write(kind, keys, given)
    result = desk.read_in(format=shard_format)
    assert (result.listed, result.rows, result.rejected, result.pending, result.version) == (9, 9, 0, 0, 1)
    assert result.shards > 1
    assert desk.open().description.dtype == "float32"
    assert by_key(desk.open()) == {key: row.tobytes() for key, row in zip(keys, given, strict=True)}


def test_rows_are_appended_to_a_corpus_or_take_the_place_of_its_items(desk: Desk) -> None:
    desk.write("npz", KEYS, values(), price=np.array([1.5, 2, np.nan, 4]))
    assert desk.read_in(mode="append").version == 1, "of a new set"
    again = desk.read_in(mode="append")
    assert (again.committed, again.shards, again.bytes) == (False, 0, 0)
    more = values(2)
    desk.write("npz", ["d.png", "a.png"], more)
    with pytest.raises(AlreadyExistsError, match=r"has 'a.png' in corpus 'imported' already.*: replace them"):
        desk.read_in(mode="append")
    with pytest.raises(NotFoundError, match=r"has no 'd.png' in corpus 'imported'"):
        desk.read_in(mode="replace")
    desk.write("npz", ["d.png", "e.png"], more)
    result = desk.read_in(mode="append")
    assert (result.version, result.listed, result.rows, desk.open().rows) == (2, 2, 2, 6)
    desk.write("npz", ["a.png"], more[:1])
    desk.read_in(mode="replace")
    expected = {**dict(zip(KEYS, values(), strict=True)), "d.png": more[0], "e.png": more[1], "a.png": more[0]}
    assert by_key(desk.open()) == {key: row.tobytes() for key, row in expected.items()}
    assert {row["key"]: row["price"] for row in desk.open().items.to_pylist()}["b.png"] == 1.5
    assert desk.open().manifest.provenance["operation"] == "replace"


@pytest.mark.parametrize("mode", ["mirror", "replace"])
def test_what_a_file_has_no_column_for_stays(desk: Desk, mode: str) -> None:
    desk.write("npz", KEYS, values(), label=list("abcd"), price=[1, 2, 3, 4])
    desk.read_in()
    desk.write("npz", KEYS, -values())
    assert desk.read_in(mode=mode).others == 4
    columns = desk.open().columns("key", "label", "price").to_pylist()
    assert sorted(tuple(row.values()) for row in columns) == sorted(zip(KEYS, "abcd", [1, 2, 3, 4], strict=True))
    desk.write("npz", KEYS, -values(), label=["e", "", "", ""])
    desk.read_in(mode=mode)
    assert desk.open().columns("label")["label"].drop_null().to_pylist() == ["e"], "an empty column takes labels away"


def test_a_row_to_replace_that_cannot_be_stored_leaves_the_one_that_is_there(desk: Desk) -> None:
    desk.write("npz", KEYS, values())
    desk.read_in()
    broken = -values()
    broken[0, 0] = np.nan
    desk.write("npz", KEYS, broken)
    result = desk.read_in(mode="replace")
    assert (result.rows, result.rejected, result.reasons, result.kept) == (3, 1, {"non-finite": 1}, ("b.png",))
    assert by_key(desk.open()) == {key: row.tobytes() for key, row in zip(KEYS, [values()[0], *broken[1:]], strict=True)}
    assert desk.open().manifest.counts["rejected"] == 0


def test_a_corpus_tells_its_first_source_and_the_latest(desk: Desk) -> None:
    desk.write("npz", KEYS, values())
    first = desk.file
    desk.read_in()
    for kind, key in (("h5", "d.png"), ("parquet", "e.png"), ("npz", "f.png")):
        desk.write(kind, [key], values(1))
        desk.read_in(mode="append")
        told = f"{first}" if desk.file == first else f"{first}; then {desk.file}"
        assert desk.open().manifest.corpora["imported"].source == told


@pytest.mark.parametrize("kind", ["npz", "h5", "npy"])
def test_maps_keep_their_shape(desk: Desk, kind: str) -> None:
    given = values(4, (2, 2, 3), "float16")
    desk.write(kind, KEYS, given)
    desk.read_in()
    assert desk.open().shape == (2, 2, 3)
    assert by_key(desk.open()) == {key: row.tobytes() for key, row in zip(KEYS, given, strict=True)}


def test_tensors_of_arrow_keep_their_shape(desk: Desk) -> None:
    given = values(4, (2, 2, 3))
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(given)
    desk.file = desk.folder / "embeddings.parquet"
    pq.write_table(pa.table({"key": KEYS, "embedding": tensors}), desk.file, row_group_size=3)
    desk.read_in()
    assert desk.open().shape == (2, 2, 3)
    assert by_key(desk.open()) == {key: row.tobytes() for key, row in zip(KEYS, given, strict=True)}


@KINDS
def test_labels_and_splits_come_along_and_empty_ones_are_missing(desk: Desk, kind: str) -> None:
    desk.write(kind, KEYS, values(), label=["ant", "", "bée", "ant"], split=["train", "test", "", "train"])
    desk.read_in()
    items = {row["key"]: (row["label"], row["split"]) for row in desk.open().items.to_pylist()}
    assert items == {"b.png": ("ant", "train"), "a.png": (None, "test"), "ü/é.png": ("bée", None), "c.png": ("ant", "train")}


@KINDS
def test_further_columns_become_attributes(desk: Desk, kind: str) -> None:
    desk.write(kind, KEYS, values(), price=np.array([1.5, 2, np.nan, 4]), stock=np.array([3, 1, 2, 0], np.int32), shop=["a", "b", "ü", "d"])
    result = desk.read_in()
    assert result.left_out == ()
    rows = {row["key"]: (row["stock"], row["shop"], row["price"]) for row in desk.open().items.to_pylist()}
    assert rows["a.png"] == (1, "b", 2.0)
    assert rows["ü/é.png"][:2] == (2, "ü")
    assert np.isnan(rows["ü/é.png"][2])


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_arrays_that_are_no_columns_are_left_out_and_told(desk: Desk, kind: str) -> None:
    further = {"classes": ["ant", "bee"], "box": np.zeros((4, 4)), "row": np.arange(4), "scale": np.array(2.0), "mass": np.arange(4)}
    desk.write(kind, KEYS, values(), **further)
    assert sorted(desk.read_in().left_out) == ["box", "classes", "row", "scale"]
    assert {row["key"]: row["mass"] for row in desk.open().items.to_pylist()}["a.png"] == 1


def test_images_and_other_embeddings_in_a_table_are_left_out_and_tags_are_kept(desk: Desk) -> None:
    image = pa.array([{"bytes": b"\x89PNG", "path": "a.png"}] * 4)
    other = pa.array([[1.0, 2.0]] * 4, pa.list_(pa.float32(), 2))
    seen = pa.array([np.datetime64("2026-01-02T03:04:05", "ns")] * 4)
    desk.write("parquet", KEYS, values(), image=image, raw=[b"\x00"] * 4, clip=other, tags=[["red", "new"], [], None, ["old"]], seen=seen)
    assert desk.read_in().left_out == ("image", "raw", "clip")
    items = desk.open().items
    assert items.schema.field("seen").type == pa.timestamp("ns")
    assert {row["key"]: row["tags"] for row in items.select(["key", "tags"]).to_pylist()} == {
        "b.png": ["red", "new"], "a.png": [], "ü/é.png": None, "c.png": ["old"]
    }  # fmt: skip


def test_a_column_without_a_name_is_left_out_and_odd_names_are_kept(desk: Desk) -> None:
    odd = {" ": [1] * 4, "a.b": [2] * 4, "label.x": [3] * 4, "ü\n": [4] * 4}
    desk.write("parquet", KEYS, values(), **odd, **{"": [0] * 4})
    assert desk.read_in().left_out == ("",)
    assert [desk.open().columns("key", name)[name].to_pylist() for name in odd] == list(odd.values())


def test_attributes_of_rejects_go_with_them(desk: Desk) -> None:
    desk.write("npz", ["a.png", "a.png", "b.png"], values(3), stock=np.array([1, 2, 3]))
    assert desk.read_in().rejected == 1
    assert {row["key"]: row["stock"] for row in desk.open().items.to_pylist()} == {"a.png": 1, "b.png": 3}


def test_labels_that_are_lists_are_kept_as_one_text(desk: Desk) -> None:
    desk.write("parquet", KEYS, values(), label=[["ant", "bee"], ["ant"], [], None])
    desk.read_in()
    assert {row["key"]: row["label"] for row in desk.open().items.to_pylist()} == {
        "b.png": "ant|bee", "a.png": "ant", "ü/é.png": "|", "c.png": None
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_labels_that_are_not_one_a_row_are_refused(desk: Desk, kind: str) -> None:
    desk.write(kind, KEYS, values(), label=np.zeros((4, 3)))
    with pytest.raises(UsageError, match="label should be a text or number for each of the 4 rows"):
        desk.read_in()


def test_a_table_with_a_column_twice_is_refused(desk: Desk) -> None:
    desk.write("parquet", KEYS, values())
    table = pq.read_table(desk.file)
    pq.write_table(table.append_column("key", table["key"]), desk.file)
    with pytest.raises(UsageError, match="two columns of one name"):
        desk.read_in()


@pytest.mark.parametrize("ending", [".parquet", ".h5", ".npz", "list"])
@pytest.mark.parametrize(("shape", "dtype"), [((3,), "float16"), ((2, 2, 3), "float32")])
def test_an_export_comes_back_as_it_went(make_set: MakeSet, tmp_path: Path, ending: str, shape: tuple[int, ...], dtype: str) -> None:
    made = make_set(shape, dtype)
    made.commit("one", PICTURES, per_shard=2)
    path = tmp_path / ("flat.parquet" if ending == "list" else f"flat{ending}")
    export_set(made.open(), path, "list" if ending == "list" else "binary")
    result = import_features(path, str(tmp_path / "store/team/back"))
    back = open_set(str(tmp_path / "store/team/back"))
    assert (result.rows, result.copies, result.differing, result.image_digests) == (7, 2, 0, 7)
    assert (back.space, back.shape, back.description.backbone) == (made.description.space, shape, dict(made.description.backbone))
    columns = ["key", "corpus", "digest", "label", "split"]
    assert back.items.select(columns).to_pylist() == made.open().items.select(columns).to_pylist()
    assert by_key(back) == by_key(made.open())


def test_a_space_that_is_only_stated_has_no_golden_images(desk: Desk) -> None:
    desk.write("npz", KEYS, values())
    assert desk.read_in().golden == 0
    golden = desk.open().golden()
    assert (golden.names, golden.images, golden.embeddings.shape) == ((), (), (0, 6))
    assert desk.open().description.backbone == {"name": "stated", "statement": {"model": "clip", "weights": "openai"}}


def test_like_another_set_is_in_its_space_with_its_golden_images(make_set: MakeSet, desk: Desk) -> None:
    made = make_set((6,), "float16")
    made.commit("one", PICTURES)
    desk.write("npz", KEYS, values(dtype="float32"))
    assert desk.read_in(like=made.uri).golden == 2
    assert desk.open().space == made.description.space
    assert desk.open().golden().images == made.golden_images().images
    np.testing.assert_array_equal(desk.open().golden().embeddings, made.golden_images().embeddings)


def test_like_a_set_of_another_shape_is_refused(make_set: MakeSet, desk: Desk) -> None:
    made = make_set((3,), "float16")
    made.commit("one", PICTURES)
    desk.write("npz", KEYS, values())
    with pytest.raises(UsageError, match=r"embeddings of shape \[6\], .* of \[3\]"):
        desk.read_in(like=made.uri)


@ALL_KINDS
def test_a_row_that_cannot_be_kept_is_a_reject_with_a_reason(desk: Desk, kind: str) -> None:
    given = values(6)
    given[1, 2], given[2, 0], given[3, 5] = np.nan, -np.inf, 1e6  # the last is too large for float16
    keys = ["a", "nan", "inf", "large", "a", "last"]
    desk.write(kind, keys, given)
    result = desk.read_in(dtype="float16")
    assert (result.listed, result.rows, result.rejected) == (6, 2, 4)
    assert result.reasons == {"non-finite": 3, "repeated-key": 1}
    assert desk.open().items["key"].to_pylist() == ["a", "last"]
    np.testing.assert_array_equal(desk.open().to_numpy()[1], given[[0, 5]].astype("float16"))
    rejects = [(row["key"], row["reason"]) for row in desk.open().rejects.to_pylist()]
    assert rejects == [("nan", "non-finite"), ("inf", "non-finite"), ("large", "non-finite"), ("a", "repeated-key")]
    state = desk.open().manifest.corpora["imported"]
    assert state.listed == state.rows + state.rejected + state.pending == 6


@KINDS
@pytest.mark.parametrize("as_hex", [True, False])
def test_digests_are_taken_from_the_file(desk: Desk, kind: str, as_hex: bool) -> None:
    digests = [hashlib.sha256(key.encode()).digest() for key in KEYS]
    digests[0] = b"\0" * 31 + b"a"
    raw = pa.array(digests, pa.binary(32)) if "parquet" in kind else np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    desk.write(kind, KEYS, values(), digest=[digest.hex() for digest in digests] if as_hex else raw)
    assert desk.read_in().image_digests == 4
    assert {row["key"]: row["digest"] for row in desk.open().items.to_pylist()} == dict(zip(KEYS, digests, strict=True))


def test_digests_are_taken_from_the_images(desk: Desk) -> None:
    for key in KEYS[:3]:
        path = desk.folder / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key.encode())
    (desk.folder / "secret").write_bytes(b"s")
    desk.write("npz", [*KEYS, "../secret", "nul\0x"[:3]], values(6))
    result = desk.read_in(images=desk.folder / "images")
    found = {row["key"]: row["digest"] for row in desk.open().items.to_pylist()}
    assert found == {key: hashlib.sha256(key.encode()).digest() for key in KEYS[:3]}
    assert result.reasons == {"unreadable": 3}
    assert "leads out of" in desk.open().rejects.to_pylist()[1]["message"]


def test_stand_ins_are_told_from_digests_of_images(desk: Desk) -> None:
    desk.write("npz", KEYS, values())
    assert desk.read_in().image_digests == 0
    digests = desk.open().items["digest"]
    assert digests.to_pylist() == [stand_in_digest("imported", key, row) for key, row in sorted(by_key(desk.open()).items())]
    assert are_stand_ins(digests).to_pylist() == [is_stand_in(digest) for digest in digests.to_pylist()] == [True] * 4
    assert not is_stand_in(bytes(32))
    assert len({stand_in_digest(*about) for about in [("one", "k", b""), ("two", "k", b""), ("one", "l", b""), ("one", "k", b"0")]}) == 4
    export_set(desk.open(), desk.folder / "back.npz")
    back = f"{desk.folder}/store/team/back"
    assert import_features(desk.folder / "back.npz", back).image_digests == 0
    assert open_set(back).items["digest"].to_pylist() == digests.to_pylist()


WITH_DIGESTS = pytest.mark.parametrize(
    "attributes", [{}, {"digest": [f"{number:064x}" for number in range(5)]}], ids=["stand-ins", "digests"]
)


def some(attributes: dict[str, Any], *numbers: int) -> dict[str, Any]:
    return {name: [column[number] for number in numbers] for name, column in attributes.items()}


@WITH_DIGESTS
def test_what_the_set_has_is_pointed_at_and_not_written_again(desk: Desk, attributes: dict[str, Any]) -> None:
    keys = [*KEYS, "e.png"]
    desk.write("npz", KEYS, values(5)[:4], **some(attributes, 0, 1, 2, 3))
    first = desk.read_in()
    assert (first.held, first.others, first.shards) == (0, 0, 1)
    desk.write("npz", keys, values(5), **attributes)
    more = desk.read_in()
    assert (more.version, more.held, more.others, more.shards) == (2, 4, 0, 1)
    assert sorted(shard.rows for shard in desk.open().manifest.shards) == [1, 4]
    compact_set(parse_set(desk.uri), do_it=True)
    again = desk.read_in()
    assert (again.version, again.committed, again.held, again.shards, again.bytes) == (3, False, 5, 0, 0)
    assert by_key(desk.open()) == {key: row.tobytes() for key, row in zip(keys, values(5), strict=True)}
    assert len(list(Path(desk.uri).glob("shards/*"))) == 3, "and no file lies about that nobody lists"


@WITH_DIGESTS
@pytest.mark.parametrize("mode", ["mirror", "replace"])
def test_another_embedding_of_what_is_there_is_taken(desk: Desk, attributes: dict[str, Any], mode: str) -> None:
    desk.write("npz", KEYS, values(), **some(attributes, 0, 1, 2, 3))
    desk.read_in()
    other = values()
    other[1] = -other[1]
    desk.write("npz", KEYS, other, **some(attributes, 0, 1, 2, 3))
    result = desk.read_in(mode=mode)
    assert (result.version, result.committed, result.held, result.others, result.shards) == (2, True, 3, 1, 1)
    assert by_key(desk.open()) == {key: row.tobytes() for key, row in zip(KEYS, other, strict=True)}
    counts = diff_versions(open_set(f"{desk.uri}@1"), desk.open()).counts
    assert counts["changed"] == (0 if attributes else 1), "a diff goes by digests"
    desk.write("npz", KEYS, values(), **some(attributes, 0, 1, 2, 3))
    with pytest.raises(AlreadyExistsError, match=r"has 'a.png' in corpus 'imported' already, with another image, embedding, label"):
        desk.read_in(mode="append")


def test_an_embedding_that_another_corpus_has_is_pointed_at_too(desk: Desk) -> None:
    desk.write("npz", KEYS, values(), digest=[f"{number:064x}" for number in range(4)])
    desk.read_in()
    result = desk.read_in(corpus_id="other", add=True)
    assert (result.version, result.held, result.shards) == (2, 4, 0)
    assert desk.open().manifest.counts["embeddings"] == 4


def test_what_is_damaged_holds_nothing_and_is_written_anew(desk: Desk) -> None:
    desk.write("npz", KEYS, values())
    desk.read_in()
    [shard] = Path(desk.uri).glob("shards/*")
    shard.unlink()
    result = desk.read_in()
    assert (result.committed, result.held) == (False, 0)
    assert by_key(desk.open()) == {key: row.tobytes() for key, row in zip(KEYS, values(), strict=True)}


def test_a_stand_in_that_was_taken_down_is_passed_over(desk: Desk) -> None:
    desk.write("npz", KEYS, values())
    desk.read_in()
    name = parse_set(desk.uri)
    take_down(name.root, name, Request(images=(desk.open().items["digest"][0].as_py().hex(),)), do_it=True)
    result = desk.read_in()
    assert (result.listed, result.rows, result.skipped, sorted(by_key(desk.open()))) == (3, 3, {"taken-down": 1}, sorted(KEYS)[1:])


def test_rows_of_one_image_share_the_first_embedding_and_contradictions_are_counted(desk: Desk) -> None:
    given = values()
    given[2] = given[0]
    desk.write("npz", KEYS, given, digest=["ab" * 32] * 4)
    result = desk.read_in()
    assert (result.rows, result.copies, result.differing) == (4, 3, 2)
    assert set(by_key(desk.open()).values()) == {given[0].tobytes()}
    assert desk.open().manifest.counts["embeddings"] == 1


def test_importing_again_mirrors_the_corpus_anew(desk: Desk) -> None:
    desk.write("npz", KEYS, values())
    desk.read_in()
    again = desk.read_in()
    assert (again.version, again.committed) == (1, False)
    desk.write("npz", ["new", *KEYS[:2]], values(3))
    third = desk.read_in()
    assert (third.version, third.committed, third.rows) == (2, True, 3)
    assert (third.before, third.after, third.left) == (4, 3, 2), "what a mirror takes out is told"
    fourth = desk.read_in(mode="append")
    assert (fourth.before, fourth.after, fourth.left) == (3, 3, 0)
    assert desk.open().items["key"].to_pylist() == ["a.png", "b.png", "new"]
    assert len(desk.open().manifest.corpora) == 1


def test_the_dtype_of_the_set_is_the_usual_one_for_what_comes_later(desk: Desk) -> None:
    desk.write("npz", KEYS, values(dtype="float16"))
    desk.read_in()
    desk.write("npz", KEYS[:3], values(3, dtype="float64"))
    assert desk.read_in().version == 2
    assert desk.open().description.dtype == "float16"


def test_a_set_of_another_space_refuses_and_names_the_fields(desk: Desk) -> None:
    desk.write("npz", KEYS, values())
    desk.read_in()
    desk.state(model="clip", weights="laion")
    with pytest.raises(SpaceMismatchError, match="they differ in weights:"):
        desk.read_in()
    assert desk.open().version == 1


def test_a_set_of_another_shape_refuses(desk: Desk) -> None:
    desk.write("npz", KEYS, values())
    desk.read_in()
    desk.write("npz", KEYS, values(4, (7,)))
    with pytest.raises(UsageError, match=r"shape \[7\], the set .* of \[6\]"):
        desk.read_in()


def test_a_set_of_another_corpus_refuses(make_set: MakeSet, desk: Desk) -> None:
    made = make_set((6,), "float32")
    made.commit("photos", PICTURES)
    desk.write("npz", KEYS, values())
    desk.uri = made.uri
    with pytest.raises(ConflictError, match="--corpus-id photos"):
        desk.read_in(like=made.uri)
    assert desk.read_in(like=made.uri, corpus_id="photos").version == 2


def test_one_of_several_corpora_is_put_in_its_place_and_the_others_stay(make_set: MakeSet, desk: Desk) -> None:
    made = make_set((6,), "float32")
    made.commit("photos", PICTURES)
    made.commit("others", {"x.jpg": 77})
    desk.write("npz", KEYS, values())
    desk.uri = made.uri
    desk.read_in(like=made.uri, corpus_id="photos")
    assert {name: state.rows for name, state in desk.open().manifest.corpora.items()} == {"photos": len(KEYS), "others": 1}


def test_an_export_of_two_corpora_needs_a_name_for_all(make_set: MakeSet, tmp_path: Path) -> None:
    made = make_set()
    made.commit("one", {"a": 1})
    made.commit("two", {"b": 2})
    export_set(made.open(), tmp_path / "flat.npz")
    with pytest.raises(UsageError, match="holds the corpora one, two"):
        import_features(tmp_path / "flat.npz", f"{tmp_path}/store/team/back")
    assert import_features(tmp_path / "flat.npz", f"{tmp_path}/store/team/back", ImportOptions(corpus_id="all")).rows == 2


def test_the_corpora_of_an_export_come_back_one_by_one(make_set: MakeSet, tmp_path: Path) -> None:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2})
    made.commit("two", {"a": 3})
    export_set(made.open(), tmp_path / "flat.parquet")
    uri = f"{tmp_path}/store/team/back"
    with pytest.raises(UsageError, match=r"holds the corpora one, two: pass --corpus ID to import one of them \(and --add"):
        import_features(tmp_path / "flat.parquet", uri)
    assert import_features(tmp_path / "flat.parquet", uri, ImportOptions(corpus="one")).listed == 2
    with pytest.raises(ConflictError, match="to have both in the set pass --add"):
        import_features(tmp_path / "flat.parquet", uri, ImportOptions(corpus="two"))
    assert import_features(tmp_path / "flat.parquet", uri, ImportOptions(corpus="two", add=True)).listed == 1
    columns = ["key", "corpus", "digest"]
    assert open_set(uri).items.select(columns).to_pylist() == made.open().items.select(columns).to_pylist()
    with pytest.raises(UsageError, match="has no rows of the corpus 'three'"):
        import_features(tmp_path / "flat.parquet", uri, ImportOptions(corpus="three"))


def test_a_file_of_which_nothing_is_good_replaces_no_version(desk: Desk) -> None:
    desk.write("npz", KEYS, values())
    desk.read_in()
    desk.write("npz", KEYS, np.full((4, 6), np.nan, np.float32))
    with pytest.raises(UsageError, match=r"no row of .* can be imported; the first, 'b.png', is non-finite"):
        desk.read_in()
    assert desk.open().version == 1


def test_the_shards_of_a_set_keep_their_format(desk: Desk) -> None:
    desk.write("npz", KEYS, values())
    desk.read_in(format="hdf5")
    desk.write("npz", KEYS[:2], values(2))
    with pytest.raises(UsageError, match="are hdf5, and stay so: leave out --format"):
        desk.read_in(format="parquet")
    assert desk.read_in().version == 2
    assert desk.open().description.shard_format == "hdf5"


def test_a_statement_is_json(desk: Desk) -> None:
    desk.write("npz", KEYS, values())
    desk.state(model="clip", scale=float("nan"))
    with pytest.raises(UsageError, match="NaN and Infinity are not JSON"):
        desk.read_in()


def test_an_export_that_is_said_to_be_of_another_space_is_refused(make_set: MakeSet, desk: Desk) -> None:
    made = make_set((6,), "float32")
    made.commit("one", PICTURES)
    desk.file = desk.folder / "flat.npz"
    export_set(made.open(), desk.file)
    with pytest.raises(SpaceMismatchError, match="leave out --space and --like"):
        desk.read_in()


def test_an_import_that_fails_leaves_no_set_behind(desk: Desk) -> None:
    rows = pa.array([[1.0, 2.0], [1.0, 2.0, 3.0]], pa.list_(pa.float32()))
    desk.file = desk.folder / "ragged.parquet"
    pq.write_table(pa.table({"key": ["a", "b"], "embedding": rows}), desk.file)
    with pytest.raises(UsageError, match="row 1 has 3 numbers, the rows before it 2"):
        desk.read_in()
    assert not (Path(desk.uri) / "set.json").exists()
    assert not list(desk.folder.rglob("*.partial"))


@pytest.mark.parametrize("mode", ["replace", "pending"])
def test_a_new_set_has_nothing_that_could_be_replaced_and_is_not_made(desk: Desk, mode: str) -> None:
    desk.write("npz", KEYS, values())
    with pytest.raises(NotFoundError, match=f"there is no version of .* yet: leave out --{mode} to make one of"):
        desk.read_in(mode=mode)
    assert not Path(desk.uri).exists()


@ALL_KINDS
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((4, 6), np.int32), "float"),
        (np.zeros((0, 6), np.float32), "no rows|for 0 embeddings|embedding a row"),
    ],
    ids=["integers", "nothing"],
)
def test_what_are_no_embeddings_is_refused_in_words(desk: Desk, kind: str, given: Array, said: str) -> None:
    desk.write(kind, KEYS[: len(given)], given)
    with pytest.raises(UsageError, match=said):
        desk.read_in()


@pytest.mark.parametrize("kind", ["npz", "h5", "npy"])
@pytest.mark.parametrize("keys", [KEYS[:3], [*KEYS, "more"]])
def test_keys_and_embeddings_must_be_as_many(desk: Desk, kind: str, keys: list[str]) -> None:
    desk.write(kind, keys, values())
    with pytest.raises(UsageError, match=f"{len(keys)} keys for 4 embeddings"):
        desk.read_in()


@KINDS
def test_a_row_without_a_key_is_refused(desk: Desk, kind: str) -> None:
    desk.write(kind, ["a", "", "c", "d"], values())
    with pytest.raises(UsageError, match="row 1 has no key"):
        desk.read_in()


@KINDS
def test_a_digest_that_is_none_is_refused(desk: Desk, kind: str) -> None:
    desk.write(kind, KEYS, values(), digest=["ab" * 32, "ab" * 32, "not hex" * 10, "ab" * 32])
    with pytest.raises(UsageError, match="the digest of row 2 should be a sha256"):
        desk.read_in()


@KINDS
def test_other_names_are_given_by_option_and_wrong_ones_listed(desk: Desk, kind: str) -> None:
    desk.write(kind, KEYS, values(), label=["x"] * 4)
    with pytest.raises(UsageError, match=r"has no 'image'; it has .*key.* Name the right one with --key-column"):
        desk.read_in(names=FlatNames(key="image"))
    with pytest.raises(UsageError, match=r"has no 'vector'; it has .*embedding.* Name the right one with --embedding-column"):
        desk.read_in(names=FlatNames(embedding="vector"))
    label = "labels" if kind == "npz" else "label"
    assert desk.read_in(names=FlatNames(key=label)).reasons == {"repeated-key": 3}


@ALL_KINDS
def test_a_damaged_file_is_told_in_words(desk: Desk, kind: str) -> None:
    desk.write(kind, KEYS * 50, values(200))
    if kind == "h5":  # a damaged length of a variable-length key makes HDF5 ask for 4 GiB: refused all the same, but after seconds
        with h5py.File(desk.file, "w") as file:
            file["key"], file["embedding"] = np.array([key.encode() for key in KEYS * 50]), values(200)
    whole = desk.file.read_bytes()
    refused = 0
    for place in range(0, len(whole), 211):
        data = bytearray(whole)
        data[place : place + 7] = b"\xff" * 7
        desk.file.write_bytes(data)
        try:
            desk.read_in(corpus_id=f"c{place}")
        except (DamagedError, UsageError) as error:
            assert str(desk.file) in str(error)  # noqa: PT017 (some damage hits values only)
            refused += 1
        except ConflictError:
            pass  # an earlier one went through
    assert refused or kind == "npy"
    desk.file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises((DamagedError, UsageError), match=str(desk.file)):
        desk.read_in()


def test_pickles_are_never_loaded(desk: Desk) -> None:
    boom = np.array([Path("x")] * 4, object)
    np.savez(desk.folder / "keys.npz", keys=boom, embeddings=values())
    np.savez(desk.folder / "values.npz", keys=np.array(KEYS), embeddings=boom)
    np.save(desk.folder / "embeddings.npy", boom)
    (desk.folder / "embeddings.txt").write_text("a\nb\nc\nd\n")
    for name in ("keys.npz", "values.npz", "embeddings.npy"):
        desk.file = desk.folder / name
        with pytest.raises(UsageError, match="pickles"):
            desk.read_in()


def test_an_array_in_fortran_order_is_read_row_by_row(desk: Desk) -> None:
    given = np.asfortranarray(values())
    for kind in ("npz", "npy"):
        desk.uri = str(desk.folder / "store" / "team" / kind)
        desk.write(kind, KEYS, given)
        desk.read_in()
        assert by_key(desk.open()) == {key: row.tobytes() for key, row in zip(KEYS, given, strict=True)}


def test_bytes_of_unknown_shape_are_refused(desk: Desk) -> None:
    desk.file = desk.folder / "raw.parquet"
    pq.write_table(pa.table({"key": ["a"], "embedding": pa.array([b"12345678"], pa.binary(8))}), desk.file)
    with pytest.raises(UsageError, match="nothing in the file tells the shape and dtype"):
        desk.read_in()


@pytest.mark.parametrize("rows", [[[1.0], None], [[1.0], [None]]], ids=["row", "number"])
def test_nulls_among_the_embeddings_are_refused(desk: Desk, rows: list[Any]) -> None:
    desk.file = desk.folder / "nulls.parquet"
    pq.write_table(pa.table({"key": ["a", "b"], "embedding": pa.array(rows, pa.list_(pa.float32()))}), desk.file)
    with pytest.raises(UsageError, match="null"):
        desk.read_in()


def test_a_dataset_of_another_file_is_not_followed(desk: Desk) -> None:
    desk.write("h5", KEYS, values())
    with h5py.File(desk.folder / "link.h5", "w") as file:
        file["key"] = KEYS
        file["embedding"] = h5py.ExternalLink("embeddings.h5", "embedding")
    desk.file = desk.folder / "link.h5"
    with pytest.raises(DamagedError, match=r"link\.h5"):
        desk.read_in()


def test_a_note_that_lies_about_the_embeddings_is_refused(make_set: MakeSet, desk: Desk) -> None:
    made = make_set((2, 3), "float16")
    made.commit("one", PICTURES)
    export_set(made.open(), desk.folder / "flat.parquet")
    table = pq.read_table(desk.folder / "flat.parquet")
    note = json.loads(table.schema.metadata[b"permafrost"])
    desk.file = desk.folder / "lie.parquet"
    for change, error in (({"shape": [2, 4]}, UsageError), ({"dtype": "float32"}, DamagedError), ({"export_version": 2}, DamagedError)):
        pq.write_table(table.replace_schema_metadata({"permafrost": json.dumps({**note, **change})}), desk.file)
        with pytest.raises(error, match=r"lie\.parquet"):
            import_features(desk.file, desk.uri)


def test_options_that_cannot_be_are_refused(desk: Desk) -> None:
    desk.write("npz", KEYS, values())
    with pytest.raises(UsageError, match="pass one of them"):
        desk.read_in(space=desk.folder / "space.json", like="a/b/c")
    with pytest.raises(NotFoundError, match="no such folder"):
        desk.read_in(images=desk.folder / "none")
    with pytest.raises(UsageError, match=r"--keys is for \.npy files"):
        desk.read_in(keys=desk.folder / "keys.txt")
    with pytest.raises(UsageError, match="does not say which feature space"):
        import_features(desk.file, desk.uri)
    with pytest.raises(UsageError, match="leave out '@3'"):
        import_features(desk.file, f"{desk.uri}@3")
    with pytest.raises(NotFoundError, match="no such file"):
        import_features(desk.folder / "none.npz", desk.uri)
    with zipfile.ZipFile(desk.folder / "a.zip", "w"), pytest.raises(UsageError, match="expected a file that ends in"):
        import_features(desk.folder / "a.zip", desk.uri)


@pytest.mark.parametrize("shard_format", ["parquet", "hdf5"])
@pytest.mark.parametrize("compacted", [False, True])
def test_a_takedown_by_key_takes_the_embedding_that_only_that_key_has_under_a_digest(
    desk: Desk, shard_format: str, compacted: bool
) -> None:
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in KEYS]
    desk.write("npz", KEYS, values(), digest=np.array(digests))
    desk.read_in(format=shard_format)
    other = np.full((1, 6), 77.5, np.float32)
    desk.write("npz", ["other.png"], other, digest=np.array(digests[:1]))
    desk.read_in(mode="append")
    name = parse_set(desk.uri)
    if compacted:
        assert compact_set(name, do_it=True).version == 3
    assert take_down(name.root, name, Request(keys=("other.png",)), do_it=True).done
    files = [path for path in Path(str(name.root)).rglob("*") if path.is_file()]
    assert [path for path in files if other.tobytes() in path.read_bytes()] == []
    assert by_key(desk.open()) == {key: row.tobytes() for key, row in zip(KEYS, values(), strict=True)}
    assert verify_set(name, full=True).sound


def test_queries_find_the_embedding_of_each_item_where_a_digest_has_two(desk: Desk) -> None:
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("polars")
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in KEYS]
    desk.write("npz", KEYS, values(), digest=np.array(digests))
    desk.read_in()
    desk.write("npz", ["other.png"], values(1), digest=np.array(digests[:1]))
    desk.read_in(mode="append")
    compact_set(parse_set(desk.uri), do_it=True)
    feature_set = desk.open()
    expected = sorted(by_key(feature_set).items())
    assert sorted((row[0], row[4]) for row in duckdb.sql(duckdb_query(feature_set)).fetchall()) == expected
    found: dict[str, Any] = {}
    exec(polars_query(feature_set), found)
    assert sorted((row["key"], row["embedding"]) for row in found["table"].to_dicts()) == expected
