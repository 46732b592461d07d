from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import storage
from storage.changes import append
from storage.commit import commit
from storage.errors import DamagedError, NotFoundError, UsageError
from storage.feature_set import FeatureSet, SetDescription, read_description
from storage.files import create_exclusive, to_json
from storage.items import ITEM_SCHEMA, REJECT_SCHEMA
from storage.sealed import CHECKSUM, seal
from storage.shard import SHARD_FORMATS
from storage.space import Space
from storage.versions import in_ranges, list_versions, version_path

if TYPE_CHECKING:
    from scripts.made_set import MadeSet

MakeSet = Callable[..., "MadeSet"]
PICTURES = {"b": 3, "a": 1, "c": 3, "e": 5, "d": 2, "f": 1, "ü/é.png": 8}  # b and c are one image, a and f another
OTHERS = {"p": 3, "q": 9}
FORMATS = pytest.mark.parametrize("shard_format", SHARD_FORMATS)
KINDS = pytest.mark.parametrize(("shape", "dtype"), [((3,), "float16"), ((3,), "float32"), ((2, 2, 3), "float16"), ((2, 2, 3), "float32")])


@pytest.fixture(scope="module", params=SHARD_FORMATS)
def original(make_set: MakeSet, request: pytest.FixtureRequest) -> MadeSet:
    """Two versions: the second adds a corpus."""
    made = make_set(shard_format=request.param)
    made.commit("one", PICTURES, per_shard=2)
    made.commit("two", OTHERS)
    return made


@pytest.fixture
def made(original: MadeSet, tmp_path: Path) -> MadeSet:
    """A copy of `original` to read and to damage."""
    copy = shutil.copytree(original.name.root, tmp_path / "store")
    return replace(original, name=replace(original.name, root=copy))


def edit(path: Path, **changes: Any) -> None:
    """Change fields of a JSON file; a field given as `...` is removed."""
    value = {**json.loads(path.read_bytes()), **changes}
    path.write_bytes(seal({name: item for name, item in value.items() if item is not ... and name != CHECKSUM}))


def by_key(feature_set: FeatureSet, batch_size: int | None = None) -> dict[str, bytes]:
    batches = list(feature_set.batches(batch_size))
    return {key: row.tobytes() for batch in batches for key, row in zip(batch.keys, batch.embeddings, strict=True)}


def expected(made: MadeSet, pictures: Mapping[str, int]) -> dict[str, bytes]:
    return {key: made.embedding(picture).tobytes() for key, picture in pictures.items()}


@FORMATS
@KINDS
def test_all_ways_of_reading_agree(make_set: MakeSet, shard_format: str, shape: tuple[int, ...], dtype: str) -> None:
    made = make_set(shape, dtype, shard_format)
    made.commit("one", PICTURES, per_shard=2)
    made.commit("two", OTHERS)
    feature_set = made.open()
    keys, values = feature_set.to_numpy()
    table = feature_set.to_arrow()
    want = expected(made, PICTURES | OTHERS)
    assert len(feature_set.manifest.shards) == 4
    assert (values.shape, values.dtype) == ((9, *shape), np.dtype(dtype))
    assert {key: row.tobytes() for key, row in zip(keys, values, strict=True)} == want
    assert by_key(feature_set) == by_key(feature_set, 2) == want
    assert table["key"].to_pylist() == keys
    assert np.array(table["embedding"].to_pylist(), dtype).reshape(9, *shape).tobytes() == values.tobytes()


@pytest.mark.slow
@settings(max_examples=12)  # each is a set on disk
@given(
    pictures=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), st.integers(0, 9), max_size=12),
    per_shard=st.integers(1, 4),
    batch_size=st.integers(1, 13),
)
def test_any_corpus_is_read_whole_in_any_batches(make_set: MakeSet, pictures: dict[str, int], per_shard: int, batch_size: int) -> None:
    made = make_set((2,), "float32")
    made.commit("one", pictures, per_shard)
    feature_set = made.open()
    keys, values = feature_set.to_numpy()
    assert keys == sorted(pictures, key=str.encode)
    assert {key: row.tobytes() for key, row in zip(keys, values, strict=True)} == expected(made, pictures)
    assert by_key(feature_set, batch_size) == expected(made, pictures)
    sizes = [len(batch.keys) for batch in feature_set.batches(batch_size)]
    whole, rest = divmod(len(pictures), batch_size)
    assert sizes == [batch_size] * whole + [rest] * bool(rest)
    assert [keys[i] for batch in feature_set.batches(batch_size) for i in batch.positions] == [
        key for batch in feature_set.batches(batch_size) for key in batch.keys
    ]
    wanted = list(range(0, len(keys), 2))
    chosen = {
        int(i): row.tobytes() for b in feature_set.batches(batch_size, wanted) for i, row in zip(b.positions, b.embeddings, strict=True)
    }
    assert chosen == {i: values[i].tobytes() for i in wanted}


def test_items_are_sorted_by_corpus_and_key_and_complete(made: MadeSet) -> None:
    items = made.open().items
    assert items.schema.equals(ITEM_SCHEMA)
    assert items["corpus"].to_pylist() == ["one"] * 7 + ["two"] * 2
    assert items["key"].to_pylist() == ["a", "b", "c", "d", "e", "f", "ü/é.png", "p", "q"]
    assert items["digest"].to_pylist() == [made.digest(p) for p in (1, 3, 3, 2, 5, 1, 8, 3, 9)]
    assert items["label"].to_pylist() == ["label-1", "label-0", "label-0", None, "label-2", "label-1", None, "label-0", "label-0"]


def test_a_set_is_told_in_one_line(made: MadeSet) -> None:
    assert repr(made.open()) == f"<FeatureSet {made.folder}@{made.open().version}: {made.open().rows} x [3] float16>"


def test_two_items_may_share_a_row(made: MadeSet) -> None:
    items = made.open("1").items.to_pylist()
    places = {item["key"]: (item["shard"], item["row"]) for item in items}
    assert places["b"] == places["c"]
    assert places["a"] == places["f"]
    assert len(set(places.values())) == 5


def test_one_key_may_occur_in_two_corpora(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("one", {"k": 1})
    made.commit("two", {"k": 2})
    keys, values = made.open().to_numpy()
    assert keys == ["k", "k"]
    assert values.tobytes() == made.embeddings([1, 2]).tobytes()


def test_the_arrow_table_carries_items_and_the_shape_of_maps(make_set: MakeSet) -> None:
    made = make_set((2, 2, 3))
    made.commit("one", PICTURES)
    table = made.open().to_arrow()
    field = table.schema.field("embedding")
    assert table.column_names == [*ITEM_SCHEMA.names, "embedding"]
    assert field.type == pa.list_(pa.float16(), 12)
    assert field.metadata == {b"shape": b"[2, 2, 3]"}


def test_batches_come_in_storage_order(made: MadeSet) -> None:
    items = {item["key"]: (item["shard"], item["row"]) for item in made.open().items.to_pylist()}
    places = [items[key] for batch in made.open().batches(2) for key in batch.keys]
    assert [shard for shard, _ in places] == sorted((shard for shard, _ in places), key=[s for s, _ in places].index)
    assert all(b >= a for (s, a), (t, b) in pairwise(places) if s == t)


@pytest.mark.slow
def test_a_batch_by_default_is_about_16_mib(make_set: MakeSet) -> None:
    made = make_set((1 << 21,))  # 4 MiB each in float16
    made.commit("one", {f"k{i}": i for i in range(5)}, per_shard=5)
    assert [len(batch.keys) for batch in made.open().batches()] == [4, 1]


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_no_items_is_refused(made: MadeSet, size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        next(made.open().batches(size))


def test_reading_may_stop_in_the_middle_and_start_anew(made: MadeSet) -> None:
    feature_set = made.open()
    stream = feature_set.batches(2)
    first = next(stream)
    assert isinstance(stream, Generator)
    stream.close()
    assert next(feature_set.batches(2)).keys == first.keys


def test_a_version_without_rows_reads_as_nothing(make_set: MakeSet) -> None:
    made = make_set((2, 2))
    made.commit("one", {}, rejected=["x"])
    feature_set = made.open()
    keys, values = feature_set.to_numpy()
    assert keys == []
    assert (values.shape, values.dtype) == ((0, 2, 2), np.dtype("float16"))
    assert list(feature_set.batches()) == []
    assert feature_set.to_arrow().num_rows == feature_set.items.num_rows == feature_set.rows == 0
    assert feature_set.to_arrow().schema.field("embedding").type == pa.list_(pa.float16(), 4)


def test_rejects_are_told_with_their_reason(make_set: MakeSet) -> None:
    made = make_set()
    made.commit("one", {"k": 1}, rejected=["bad", "worse"])
    made.commit("two", {"l": 2})
    feature_set = made.open()
    assert feature_set.rejects.schema.equals(REJECT_SCHEMA)
    assert feature_set.rejects["key"].to_pylist() == ["bad", "worse"]
    assert feature_set.rejects["reason"].to_pylist() == ["unreadable"] * 2
    assert feature_set.manifest.counts == {
        "listed": 4,
        "rows": 2,
        "rejected": 2,
        "pending": 0,
        "embeddings": 2,
        "bytes": sum(shard.bytes for shard in feature_set.manifest.shards),
    }


def test_without_rejects_their_table_is_empty(made: MadeSet) -> None:
    assert made.open().rejects.num_rows == 0
    assert made.open().rejects.schema.equals(REJECT_SCHEMA)


def test_a_set_says_what_it_is(make_set: MakeSet, make_space: Callable[..., Space]) -> None:
    made = make_set((2, 2, 3), "float32")
    made.commit("one", PICTURES)
    feature_set = storage.open(made.uri)
    assert feature_set.space == make_space(dtype="float32")
    assert (feature_set.version, feature_set.rows, feature_set.shape, feature_set.embedding_bytes) == (1, 7, (2, 2, 3), 48)


def test_golden_images_come_back(made: MadeSet) -> None:
    golden, written = made.open().golden(), made.golden_images()
    assert (golden.names, golden.images) == (written.names, written.images)
    assert golden.embeddings.tobytes() == written.embeddings.tobytes()


def test_the_newest_version_opens_by_default_and_older_ones_by_number(made: MadeSet) -> None:
    assert storage.open(made.uri).version == 2
    assert storage.open(f"{made.uri}@2").version == 2
    assert storage.open(f"{made.uri}@1").to_numpy()[0] == sorted(PICTURES)


def test_an_opened_set_stays_at_its_version(made: MadeSet) -> None:
    feature_set = made.open()
    made.commit("one", {"new": 77})
    assert feature_set.to_numpy()[0] == [*sorted(PICTURES), *sorted(OTHERS)]
    assert made.open().to_numpy()[0] == ["new", *sorted(OTHERS)]


def test_a_tag_opens_its_version(made: MadeSet) -> None:
    create_exclusive(made.folder / "tags" / "prod.json", seal({"version": 1}))
    assert storage.open(f"{made.uri}@prod").version == 1


def test_a_store_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=rf"{tmp_path}/gone is not a feature store"):
        storage.open(f"{tmp_path}/gone/team/set")


def test_a_set_that_is_not_there_is_answered_with_those_that_are(make_set: MakeSet) -> None:
    made = make_set()
    make_set(root=made.name.root, team="other", name="flowers")
    with pytest.raises(NotFoundError, match=r"no feature set team/sett in .*; the store has other/flowers, team/set$"):
        storage.open(f"{made.uri}t")


def test_a_set_without_a_version_is_told(make_set: MakeSet) -> None:
    with pytest.raises(NotFoundError, match="no committed version yet"):
        storage.open(make_set().uri)


@pytest.mark.parametrize("at", ["0", "3", "99999999"])
def test_a_version_out_of_range_is_answered_with_the_range(made: MadeSet, at: str) -> None:
    with pytest.raises(NotFoundError, match=rf"has no version {at}; it has versions 1 to 2"):
        storage.open(f"{made.uri}@{at}")


def test_versions_are_told_in_ranges() -> None:
    assert in_ranges([3]) == "3"
    assert in_ranges([10, 20]) == "10, 20"
    assert in_ranges([1, 2, 3, 5, 8, 9]) == "1 to 3, 5, 8 to 9"
    assert in_ranges(range(1, 99, 2)) == "1, 3, 5, ..., 93, 95, 97"


def test_a_column_that_no_item_has_is_refused_with_those_that_there_are(make_set: Callable[..., MadeSet]) -> None:
    made = make_set()
    made.commit("one", {"a": 1})
    append(made.uri, ["b"], made.embeddings([2]), price=[1.5])
    feature_set = made.open()
    for _ in range(2):
        with pytest.raises(UsageError, match=r"no item has a column 'nope'; there are key, .*, split, price$"):
            feature_set.columns("key", "nope")
        assert feature_set.items.num_rows == 2, "and read as a whole"


def test_an_unknown_tag_is_answered_with_those_that_are(made: MadeSet) -> None:
    with pytest.raises(NotFoundError, match="has no tag 'prod'; its tags: none"):
        storage.open(f"{made.uri}@prod")
    create_exclusive(made.folder / "tags" / "best.json", seal({"version": 1}))
    with pytest.raises(NotFoundError, match="has no tag 'prod'; its tags: best"):
        storage.open(f"{made.uri}@prod")


def test_a_tag_of_a_version_that_is_gone_is_told(made: MadeSet) -> None:
    create_exclusive(made.folder / "tags" / "prod.json", seal({"version": 7}))
    with pytest.raises(DamagedError, match=r"version 7 of .* is lost"):
        storage.open(f"{made.uri}@prod")


def test_a_garbage_tag_is_damage_and_named(made: MadeSet) -> None:
    create_exclusive(made.folder / "tags" / "prod.json", b"garbage")
    with pytest.raises(DamagedError, match=r"prod\.json"):
        storage.open(f"{made.uri}@prod")


@pytest.mark.parametrize("content", [b"{}", b'{"version": "newest"}', b'{"version": null}', b'{"version": [1]}'])
def test_a_tag_without_a_version_number_is_damage_and_named(made: MadeSet, content: bytes) -> None:
    create_exclusive(made.folder / "tags" / "prod.json", content)
    with pytest.raises(DamagedError, match=r"prod\.json"):
        storage.open(f"{made.uri}@prod")


@pytest.mark.parametrize("uri", ["set", "a/../b", "s3://team/set"])
def test_a_malformed_name_is_refused(uri: str) -> None:
    with pytest.raises(UsageError):
        storage.open(uri)


def first_shard(made: MadeSet) -> Path:
    return made.folder / made.open("1").manifest.shards[0].path


def read_everything(feature_set: FeatureSet) -> None:
    feature_set.to_numpy()


def read_batches(feature_set: FeatureSet) -> None:
    list(feature_set.batches(2))


READS = pytest.mark.parametrize("read", [read_everything, read_batches])


@READS
def test_a_truncated_shard_is_damage_and_named_with_both_sizes(made: MadeSet, read: Callable[[FeatureSet], None]) -> None:
    path = first_shard(made)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedError, match=rf"{path} has {size - 9} bytes, the manifest says {size}"):
        read(made.open())


@READS
def test_a_missing_shard_is_damage_and_named(made: MadeSet, read: Callable[[FeatureSet], None]) -> None:
    path = first_shard(made)
    path.unlink()
    with pytest.raises(DamagedError, match=f"the shard {path} is listed but is not there"):
        read(made.open())


@READS
def test_a_shard_of_garbage_of_the_right_size_is_damage_and_named(made: MadeSet, read: Callable[[FeatureSet], None]) -> None:
    path = first_shard(made)
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(DamagedError, match=str(path)):
        read(made.open())


@READS
def test_a_shard_of_another_space_is_damage_and_named(make_set: MakeSet, read: Callable[[FeatureSet], None]) -> None:
    made = make_set()
    shard = made.write_shard([1], space_id="9" * 64)
    items = made.items_table("one", {"k": 1}, {1: (shard.sha256, 0)})
    commit(made.name, None, made.draft_of("one", items, [shard]), "one")
    with pytest.raises(DamagedError, match=rf"{shard.path} holds 1 rows of .*{'9' * 64}.*, expected 1 of .*{made.description.space.id}"):
        read(made.open())


@pytest.mark.parametrize("shape", [(1,), (2,), (3, 1)])
@READS
def test_a_shard_of_another_shape_is_damage_and_named(
    make_set: MakeSet, read: Callable[[FeatureSet], None], shape: tuple[int, ...]
) -> None:
    made = make_set()
    shard = made.write_shard([1, 2], shape=shape)
    items = made.items_table("one", {"k": 1, "l": 2}, {1: (shard.sha256, 0), 2: (shard.sha256, 1)})
    commit(made.name, None, made.draft_of("one", items, [shard]), "one")
    with pytest.raises(DamagedError, match=shard.path):
        read(made.open())


@READS
@pytest.mark.parametrize("row", [5, -1])
def test_an_item_that_points_beyond_its_shard_is_damage(make_set: MakeSet, read: Callable[[FeatureSet], None], row: int) -> None:
    made = make_set()
    shard = made.write_shard([1])
    items = made.items_table("one", {"k": 1}, {1: (shard.sha256, row)})
    commit(made.name, None, made.draft_of("one", items, [shard]), "one")
    with pytest.raises(DamagedError, match=f"row {row} of shard {shard.sha256}"):
        read(made.open())


@READS
def test_an_item_in_a_shard_that_is_not_listed_is_damage(make_set: MakeSet, read: Callable[[FeatureSet], None]) -> None:
    made = make_set()
    items = made.items_table("one", {"k": 1}, {1: ("7" * 64, 0)})
    commit(made.name, None, made.draft_of("one", items, []), "one")
    with pytest.raises(DamagedError, match="7" * 12):
        read(made.open())


def test_a_missing_items_file_is_damage_and_named(made: MadeSet) -> None:
    path = made.folder / made.open().manifest.corpora["one"].items[0].path
    path.unlink()
    with pytest.raises(DamagedError, match=str(path)):
        made.open().to_numpy()


def test_a_missing_rejects_file_is_damage_and_named(make_set: MakeSet) -> None:
    made = make_set()
    rejects = made.commit("one", {}, rejected=["x"]).corpora["one"].rejects
    assert rejects is not None
    (made.folder / rejects.path).unlink()
    with pytest.raises(DamagedError, match=rejects.path):
        _ = made.open().rejects


@pytest.mark.parametrize("rows", [6, 8])
def test_a_manifest_with_another_number_of_rows_than_its_items_is_damage(make_set: MakeSet, rows: int) -> None:
    made = make_set()
    made.commit("one", PICTURES)
    path = version_path(made.folder, 1)
    state = json.loads(path.read_bytes())["corpora"]["one"]
    edit(path, corpora={"one": {**state, "rows": rows, "listed": rows}})
    with pytest.raises(DamagedError, match=r"00000001\.json: .*not those of the listed files"):
        made.open().to_numpy()


@pytest.mark.parametrize("content", [b"garbage", b"", b"{", b"[]", b"\xff\xfe", b"{}", b'{"format": 1}'])
def test_a_garbage_manifest_is_damage_and_named(made: MadeSet, content: bytes) -> None:
    version_path(made.folder, 2).write_bytes(content)
    with pytest.raises(DamagedError, match=r"00000002\.json"):
        made.open()
    assert made.open("1").rows == 7


@pytest.mark.parametrize("content", [b"garbage", b"", b"[]", b"{}", b'{"format": 2}'])
def test_a_garbage_set_description_is_damage_and_named(made: MadeSet, content: bytes) -> None:
    (made.folder / "set.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"set\.json"):
        made.open()


@pytest.mark.parametrize("field", ["weights", "layer", "preprocessing"])
def test_a_tampered_space_is_damage_and_named(made: MadeSet, field: str) -> None:
    space = made.description.space.to_dict()
    edit(made.folder / "set.json", space={**space, field: "tampered"})
    with pytest.raises(DamagedError, match=r"set\.json: the space id does not match"):
        made.open()


def test_a_tampered_space_id_is_damage_and_named(made: MadeSet) -> None:
    edit(made.folder / "set.json", space_id="9" * 64)
    with pytest.raises(DamagedError, match=r"set\.json: the space id does not match"):
        made.open()


@pytest.mark.parametrize("change", [{"weights": ...}, {"engine": "xla"}])
def test_a_space_with_missing_or_unknown_fields_is_damage_and_named(made: MadeSet, change: dict[str, Any]) -> None:
    space = {name: value for name, value in {**made.description.space.to_dict(), **change}.items() if value is not ...}
    edit(made.folder / "set.json", space=space)
    with pytest.raises(DamagedError, match=r"set\.json"):
        made.open()


@pytest.mark.parametrize("name", ["space", "space_id", "shard_format", "shape", "dtype", "backbone", "created"])
def test_a_set_description_without_a_field_is_damage_and_named(made: MadeSet, name: str) -> None:
    edit(made.folder / "set.json", **{name: ...})
    with pytest.raises(DamagedError, match=r"set\.json"):
        made.open()


@pytest.mark.parametrize("content", [b'{"format": 2}', b"garbage"])
def test_a_store_of_another_format_is_not_opened(made: MadeSet, content: bytes) -> None:
    (made.name.root / "permafrost.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"permafrost\.json"):
        made.open()


def test_a_manifest_of_another_space_is_damage_and_named(made: MadeSet) -> None:
    edit(version_path(made.folder, 2), space_id="9" * 64)
    with pytest.raises(DamagedError, match=r"00000002\.json"):
        made.open()


def test_a_description_comes_back_from_its_json(make_set: MakeSet) -> None:
    made = make_set((2, 2, 3), "float32")
    assert read_description(made.name) == made.description
    assert SetDescription.from_dict(json.loads(to_json(made.description.to_dict())), "x") == made.description


def test_a_card_is_kept(made: MadeSet) -> None:
    described = replace(made.description, card={"owner": "me", "licence": "CC0"})
    assert SetDescription.from_dict(described.to_dict(), "x").card == {"owner": "me", "licence": "CC0"}


def test_private_files_and_strangers_are_no_versions(made: MadeSet) -> None:
    for name in (".0123.partial", "README.md", "notes.json"):
        (made.folder / "versions" / name).write_text("x")
    assert list_versions(made.folder) == [1, 2]


@pytest.mark.parametrize("name", ["9.json", "9", "00000009", "².json"])
def test_a_file_that_is_not_named_as_a_version_is_none(made: MadeSet, name: str) -> None:
    (made.folder / "versions" / name).write_text("x")
    assert list_versions(made.folder) == [1, 2]
