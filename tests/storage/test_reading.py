"""Columns, row ranges, look-ups and threads; reading whole sets is in test_feature_set.py."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.made_set import MadeSet
from storage import item_borders
from storage.commit import commit
from storage.errors import DamagedError, NotFoundError, UsageError
from storage.feature_set import FeatureSet
from storage.files import open_listed
from storage.items import ITEM_SCHEMA
from storage.reading import _in_order
from storage.shard import SHARD_FORMATS

KEYS = [f"{i:03d}.jpg" for i in range(60)]
LONG = "005-" + "x" * 5000  # too long for the statistics of a footer


@pytest.fixture(scope="module")
def small_files() -> Iterator[None]:
    """Item files of 4 to 12 rows, in row groups of 3."""
    with pytest.MonkeyPatch.context() as patch:
        for name, rows in {"MIN_ROWS": 4, "MEAN_ROWS": 8, "MAX_ROWS": 12}.items():
            patch.setattr(item_borders, name, rows)
        patch.setattr("storage.items.ROWS_PER_GROUP", 3)
        yield


@pytest.fixture(scope="module", params=SHARD_FORMATS)
def made(make_set: Callable[..., MadeSet], small_files: None, request: pytest.FixtureRequest) -> MadeSet:
    """Two corpora; every tenth image occurs twice, and shards hold them in another order than items have."""
    made = make_set((2, 3), shard_format=request.param, views=("plain", "flip"))
    made.commit("one", {key: (i * 7) % 54 for i, key in enumerate([*KEYS, LONG])}, per_shard=7)
    made.commit("two", {"000.jpg": 100, "only.jpg": 3})
    return made


def test_columns_are_those_of_the_items_and_no_others(made: MadeSet) -> None:
    items = made.open().items
    for names in (["key"], ["label", "key"], ["shard", "row"], ITEM_SCHEMA.names):
        assert made.open().columns(*names).equals(items.select(names))
    feature_set = made.open()
    assert feature_set.items.num_rows == 63
    assert feature_set.columns("key").equals(items.select(["key"]))


def test_a_column_that_no_item_has_is_answered_with_those_that_are(made: MadeSet) -> None:
    with pytest.raises(UsageError, match=r"no item has a column 'colour'; there are key, corpus, "):
        made.open().columns("key", "colour")
    with pytest.raises(UsageError, match=r"no item has a column .colour.;"):
        made.open().columns("colour")


def test_wrong_positions_and_one_text_for_several_keys_are_told(made: MadeSet) -> None:
    for positions in ([0, -1], [63]):
        with pytest.raises(UsageError, match=rf"positions must be from 0 to 62 in .*, got {positions[-1]}"):
            made.open().embeddings(positions)
        with pytest.raises(UsageError, match="positions must be"):
            next(made.open().batches(positions=positions))
    with pytest.raises(UsageError, match=r"got one text, .000\.jpg.: put it into a list"):
        made.open().by_key("000.jpg")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda made: made.embeddings([True] * 63), r"got truth values: np\.flatnonzero\(mask\)"),
        (lambda made: made.embeddings([0.9]), "one row of whole numbers, got shape .1. of float64"),
        (lambda made: made.embeddings([[1, 2]]), "one row of whole numbers"),
        (lambda made: made.embeddings([[1], [2, 3]]), "rows of different lengths"),
        (lambda made: made.row_reader([True, False]), "truth values"),
        (lambda made: made.embeddings(view="plain"), "has no view 'plain'; it has 0 plain, 1 flip"),
        (lambda made: made.to_numpy(view=True), "has no view True"),
        (lambda made: made.by_key([3]), "keys are texts; got 3"),
        (lambda made: made.positions_of_keys([None]), "keys are texts; got None"),
        (lambda made: made.read(0.5, 2), r"whole numbers, got 0\.5:2"),
        (lambda made: made.read("a", 2), "whole numbers, got 'a':2"),
        (lambda made: next(made.batches(2.5)), r"batch_size must be a whole number, at least 1; got 2\.5"),
        (lambda made: next(made.batches(0)), "batch_size must be"),
        (lambda made: next(made.batches(threads=0)), "threads must be a whole number, at least 1; got 0"),
    ],
)
def test_a_mistake_of_the_caller_is_told_as_one(made: MadeSet, ask: Callable[[FeatureSet], object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ask(made.open())


def test_positions_come_in_any_kind_of_whole_numbers(made: MadeSet) -> None:
    whole = made.open().embeddings()
    for positions in (range(3, 5), np.array([3, 4], np.uint8), (3, 4)):
        assert made.open().embeddings(positions).tobytes() == whole[3:5].tobytes()
    assert made.open().embeddings([]).shape == (0, 2, 3)


def test_attributes_are_columns_too(make_set: Callable[..., MadeSet]) -> None:
    made = make_set()
    shard = made.write_shard([1])
    items = made.items_table("one", {"k": 1}, {1: (shard.sha256, 0)}).append_column("price", pa.array([3]))
    commit(made.name, None, made.draft_of("one", items, [shard]), "one")
    made.commit("two", {"l": 2})
    assert made.open().columns("price", "key").to_pydict() == {"price": [3, None], "key": ["k", "l"]}


@pytest.mark.slow
@settings(max_examples=15)
@given(data=st.data(), view=st.sampled_from([0, 1, None]))
def test_a_range_of_rows_is_that_part_of_all_rows(made: MadeSet, data: st.DataObject, view: int | None) -> None:
    feature_set = made.open()
    keys, whole = feature_set.to_numpy(view)
    start, stop = sorted(data.draw(st.tuples(st.integers(0, 63), st.integers(0, 63))))
    batch = feature_set.read(start, stop, view)
    assert batch.keys == keys[start:stop]
    assert batch.positions.tolist() == list(range(start, stop))
    assert batch.embeddings.tobytes() == whole[start:stop].tobytes()


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 64), (5, 4)])
def test_a_range_outside_is_refused(made: MadeSet, start: int, stop: int) -> None:
    with pytest.raises(UsageError, match=rf"rows {start}:{stop} are outside 0:63"):
        made.open().read(start, stop)


@pytest.mark.slow
@settings(max_examples=15)
@given(wanted=st.lists(st.sampled_from([*KEYS, LONG]), max_size=70), missing=st.lists(st.text(max_size=8), max_size=3))
def test_keys_are_found_where_they_are(made: MadeSet, wanted: list[str], missing: list[str]) -> None:
    feature_set = made.open()
    places = {key: place for place, key in enumerate(feature_set.items["key"].to_pylist()[:61])}
    asked = [*wanted, *missing]
    assert feature_set.positions_of_keys(asked, "one").tolist() == [places.get(key, -1) for key in asked]
    batch = feature_set.by_key(wanted, "one", view=1)
    assert batch.keys == wanted
    assert batch.embeddings.tobytes() == feature_set.embeddings([places[key] for key in wanted], view=1).tobytes()


def test_a_look_up_reads_neither_all_items_nor_all_files(made: MadeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: set[str] = set()

    def noting(folder: object, entry: object, opener: object) -> object:
        opened.add(entry.path)  # type: ignore[attr-defined]
        return open_listed(folder, entry, opener)  # type: ignore[arg-type]

    for module in ("storage.items", "storage.key_lookup"):
        monkeypatch.setattr(f"{module}.open_listed", noting)
    feature_set = made.open()
    files = len(feature_set.manifest.corpora["one"].items)
    assert feature_set.by_key([KEYS[30]]).keys == [KEYS[30]]
    assert len(opened) <= 5 < files  # by halving: 3 of up to 15, and the one of the other corpus
    assert not {"items", "_places"} & set(feature_set.__dict__)


def test_a_key_of_two_corpora_has_to_be_told_apart(made: MadeSet) -> None:
    feature_set = made.open()
    with pytest.raises(UsageError, match=r"several corpora of .* have the key '000.jpg': name one of one, two"):
        feature_set.by_key(["001.jpg", "000.jpg"])
    assert feature_set.positions_of_keys(["000.jpg"], "one").tolist() == [0]
    assert feature_set.positions_of_keys(["000.jpg"], "two").tolist() == [61]
    assert feature_set.positions_of_keys(["only.jpg", "001.jpg", "none"]).tolist() == [62, 1, -1]
    with pytest.raises(UsageError, match=r"has no corpus 'three'; it has one, two"):
        feature_set.by_key(["001.jpg"], "three")


def test_keys_that_are_not_there_are_told(made: MadeSet) -> None:
    with pytest.raises(NotFoundError, match=r"has no item of key 'x' and 1 more in version 2; positions_of_keys says which it has"):
        made.open().by_key(["001.jpg", "x", "y"])


def test_digests_are_found_at_their_first_item(made: MadeSet) -> None:
    feature_set = made.open()
    digests = feature_set.items["digest"].to_pylist()
    asked = [*digests[::-1], made.digest(999)]
    assert feature_set.positions_of_digests(asked).tolist() == [*(digests.index(digest) for digest in digests[::-1]), -1]
    batch = feature_set.by_digest([made.digest(picture) for picture in (7, 100, 3)])
    assert batch.embeddings.tobytes() == made.embeddings([7, 100, 3])[::2].tobytes()
    with pytest.raises(NotFoundError, match=rf"has no item of digest {made.digest(999).hex()} in version 2; positions_of_digests"):
        feature_set.by_digest(asked)
    for wrong in ("ab", b"ab"):
        with pytest.raises(UsageError, match="32 bytes of a sha256"):
            feature_set.by_digest([wrong])  # type: ignore[list-item]


def test_digests_that_agree_in_their_first_bytes_are_told_apart(make_set: Callable[..., MadeSet]) -> None:
    made = make_set()
    digests = [bytes(8) + bytes([i]) * 24 for i in (3, 1, 2, 1)]
    shard = made.write_shard([1])
    items = made.items_table("one", dict.fromkeys("abcd", 1), {1: (shard.sha256, 0)})
    items = items.set_column(2, items.schema.field("digest"), pa.array(digests, pa.binary(32)))
    commit(made.name, None, made.draft_of("one", items, [shard]), "one")
    asked = [*digests, bytes(32), bytes(8) + b"\xff" * 24]
    assert made.open().positions_of_digests(asked).tolist() == [0, 1, 2, 1, -1, -1]
    assert made.open().positions_of_digests([]).tolist() == []


@pytest.mark.parametrize("threads", [2, 5])
@pytest.mark.parametrize("view", [1, None])
def test_threads_do_not_change_what_is_read(made: MadeSet, threads: int, view: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.reading.PIECE_BYTES", 24)
    feature_set = made.open()
    one, many = list(feature_set.batches(4, view=view)), list(feature_set.batches(4, view=view, threads=threads))
    assert [batch.keys for batch in many] == [batch.keys for batch in one]
    assert all(a.embeddings.tobytes() == b.embeddings.tobytes() for a, b in zip(one, many, strict=True))
    assert feature_set.embeddings(view=view, threads=1).tobytes() == feature_set.embeddings(view=view, threads=threads).tobytes()


def test_threads_that_read_ahead_stop_with_their_reader(made: MadeSet) -> None:
    stream = made.open().batches(2, threads=3)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("permafrost-read")]


def test_no_more_is_read_ahead_than_there_are_threads() -> None:
    begun = []
    results = _in_order(range(100), lambda job: begun.append(job) or job, 3)
    assert [next(results) for _ in range(10)] == list(range(10))
    assert len(begun) <= 10 + 3
    with pytest.raises(UsageError, match="threads must be a whole number, at least 1; got 0"):
        next(_in_order([1], str, 0))


@pytest.mark.slow
def test_one_set_serves_several_threads(made: MadeSet) -> None:
    feature_set = made.open()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda key: feature_set.by_key([key], "one"), KEYS))
    assert [batch.keys for batch in found] == [[key] for key in KEYS]
    assert b"".join(batch.embeddings.tobytes() for batch in found) == feature_set.by_key(KEYS, "one").embeddings.tobytes()


def test_a_set_is_sent_to_other_processes_without_what_was_read_of_it(made: MadeSet) -> None:
    feature_set = made.open()
    small = len(pickle.dumps(feature_set))
    assert feature_set.by_digest([made.digest(7)]).keys == feature_set.by_key(["001.jpg"]).keys
    assert feature_set.items.num_rows == 63
    assert len(pickle.dumps(feature_set)) == small
    again = pickle.loads(pickle.dumps(feature_set))  # noqa: S301 (our own)
    assert again.embeddings().tobytes() == feature_set.embeddings().tobytes()


@pytest.mark.slow
def test_looking_up_in_a_damaged_item_file_is_refused_in_words(make_set: Callable[..., MadeSet]) -> None:
    made = make_set()
    made.commit("one", {f"k{i}": i for i in range(6)})
    entry, *_ = made.open().manifest.corpora["one"].items
    path, whole = made.folder / entry.path, (made.folder / entry.path).read_bytes()
    answers = set()
    for place in range(0, len(whole), 17):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            answers.add(int(made.open().positions_of_keys(["k3"])[0]))
        except DamagedError as error:
            assert entry.path in str(error)  # noqa: PT017 (most damages are harmless)
    assert 3 in answers
