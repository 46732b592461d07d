"""Copying embeddings between sets of one space: exactly those asked for, bit by bit, and never from a damaged shard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.commit import commit
from storage.digests import DigestMap, words_of
from storage.errors import UnstorableError
from storage.export import export_set
from storage.import_features import import_features
from storage.import_options import ImportOptions
from storage.lending import agreeing, copy_embeddings, find_lenders
from storage.shard import SHARD_FORMATS, ShardLayout

MakeSet = Callable[..., Any]  # see conftest.py
KINDS = pytest.mark.parametrize("kind", SHARD_FORMATS)


def borrow(borrower: Any, pictures: list[int]) -> dict[int, bytes]:
    """What the borrower's new shards hold, by picture, after copying."""
    description = borrower.description
    layout = ShardLayout(description.shape, description.dtype, description.space.id)
    lenders = agreeing(find_lenders(borrower.name, description.space), borrower.name, "float32", borrower.embed)
    numbers = {borrower.digest(picture): picture for picture in pictures}
    kind = SHARD_FORMATS[description.shard_format]
    wanted = DigestMap()
    wanted.add(words_of(list(numbers)))
    found: dict[int, bytes] = {}
    for copied in copy_embeddings(wanted, lenders, borrower.name, kind, layout):
        with closing(kind.reader(borrower.folder / copied.shard.path)) as reader:
            assert (reader.layout, reader.rows) == (layout, copied.shard.rows)
            assert tuple(reader.digests()) == copied.digests
            rows = reader.read(0, reader.rows)
        found |= {numbers[digest]: row.tobytes() for digest, row in zip(copied.digests, rows, strict=True)}
    return found


@KINDS
def test_what_is_asked_for_is_copied_from_every_lender_and_nothing_else(make_set: MakeSet, tmp_path: Path, kind: str) -> None:
    make_set(root=tmp_path, name="one", shard_format=kind).commit("a", {f"k{n}": n for n in range(1, 6)}, per_shard=2)
    make_set(root=tmp_path, name="two", team="others", shard_format=kind).commit("b", {"x": 6, "y": 2})
    borrower = make_set(root=tmp_path, name="borrower", shard_format=kind)
    assert borrow(borrower, [6, 3, 1, 5, 99]) == {n: borrower.embedding(n).tobytes() for n in (1, 3, 5, 6)}


def test_a_set_of_another_space_is_no_lender(make_set: MakeSet, tmp_path: Path) -> None:
    make_set(root=tmp_path, name="one", pooling="max").commit("a", {"k": 1})
    assert borrow(make_set(root=tmp_path, name="borrower"), [1]) == {}


@KINDS
def test_pooled_float16_is_derived_from_float32_maps(make_set: MakeSet, tmp_path: Path, kind: str) -> None:
    maps = make_set((2, 2, 3), "float32", kind, tmp_path, name="maps", pooling="none")
    maps.commit("a", {"k": 1, "l": 2})
    borrower = make_set((3,), "float16", root=tmp_path, name="pooled")
    assert borrow(borrower, [1, 2, 3]) == {n: maps.embedding(n).mean(axis=(0, 1)).astype(np.float16).tobytes() for n in (1, 2)}


def test_a_set_in_the_same_space_lends_before_one_that_only_leads_to_it(make_set: MakeSet, tmp_path: Path) -> None:
    make_set((2, 3), root=tmp_path, name="a-maps", pooling="none").commit("a", {"k": 1})
    make_set((3,), root=tmp_path, name="b-same").commit("a", {"k": 1})
    borrower = make_set((3,), root=tmp_path, name="borrower")
    assert borrow(borrower, [1]) == {1: borrower.embedding(1).tobytes()}


def test_what_float16_cannot_hold_is_not_derived(make_set: MakeSet, tmp_path: Path) -> None:
    wide = make_set((3,), "float32", root=tmp_path, name="wide")
    object.__setattr__(wide, "embedding", lambda picture: np.full(3, 1e6 if picture == 1 else 1, np.float32))
    wide.commit("a", {"k": 1, "l": 2})
    assert borrow(make_set((3,), root=tmp_path, name="narrow"), [1, 2]) == {2: np.ones(3, np.float16).tobytes()}


def test_imported_features_are_not_lent_whether_they_are_only_said_to_be_in_a_space_or_nobody_can_compare_them(
    make_set: MakeSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can check what `--like` says, nor which engine made an export; a wrong word in one set must not spread to others."""
    made = make_set(root=tmp_path / "elsewhere", name="one")
    made.commit("a", {"k": 1, "l": 2})
    borrower = make_set(root=tmp_path / "here", name="borrower")
    flat, stated = tmp_path / "export.npz", tmp_path / "stated.npz"
    export_set(made.open(), flat)
    with np.load(flat) as arrays:
        np.savez(stated, **{name: arrays[name] for name in arrays if name != "permafrost"})
    import_features(stated, f"{tmp_path}/here/team/stated", ImportOptions(like=made.uri))
    assert borrow(borrower, [1, 2]) == {}
    assert caplog.messages == []
    import_features(flat, f"{tmp_path}/here/team/exported")
    assert borrow(borrower, [1, 2]) == {}
    [told] = caplog.messages
    assert "team/exported lends nothing" in told
    assert "no golden images" in told


def turned(made: Any, degrees: float) -> Any:
    """The set as another engine would begin it, which moves its golden embeddings by so much."""
    values, radians = np.ones((2, *made.description.shape)), np.radians(degrees)
    aside = values.copy()
    aside.reshape(2, -1)[:, ::2] *= -1
    moved = (np.cos(radians) * values + np.sin(radians) * aside).astype(made.description.dtype)
    object.__setattr__(made, "embed", lambda images: moved)
    return made


def test_a_set_that_another_engine_made_lends_nothing_and_it_is_said_which_and_by_how_much(
    make_set: MakeSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    turned(make_set((4,), root=tmp_path, name="theirs"), 10).commit("a", {"k": 1, "l": 2})
    turned(make_set((4,), root=tmp_path, name="near"), 0.1).commit("a", {"l": 2})
    borrower = make_set((4,), root=tmp_path, name="borrower")
    assert borrow(borrower, [1, 2]) == {2: borrower.embedding(2).tobytes()}
    [told] = caplog.messages
    assert "team/theirs lends nothing to " in told
    assert "team/borrower, though" in told
    assert "golden image 'small.png' with cosine 0.98" in told
    assert "need at least 0.99999" in told


def test_who_lends_derived_features_is_compared_in_the_form_in_which_they_are_lent(make_set: MakeSet, tmp_path: Path) -> None:
    """Turned maps have other means, unless what was added in one place was taken from another."""
    theirs = turned(make_set((2, 2, 4), "float32", root=tmp_path / "4", name="maps", pooling="none"), 10)
    theirs.commit("a", {"k": 1})
    evenly = make_set((2, 2, 3), "float32", root=tmp_path / "3", name="maps", pooling="none")
    moved = np.ones((2, 2, 2, 3), np.float32)
    moved[:, 0], moved[:, 1] = 0.5, 1.5
    object.__setattr__(evenly, "embed", lambda images: moved)
    evenly.commit("a", {"k": 1})
    for channels, held in ((4, theirs), (3, evenly)):
        borrower = make_set((channels,), root=tmp_path / str(channels), name="pooled")
        lent = borrow(borrower, [1])
        expected = held.embedding(1).mean(axis=(0, 1)).astype(np.float16).tobytes()
        assert lent == ({1: expected} if held is evenly else {})


def test_golden_images_that_give_no_embedding_here_are_no_reason_to_stop(
    make_set: MakeSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(images: Any) -> Any:
        raise UnstorableError("2 of 2 known good images gave no embedding")

    make_set(root=tmp_path, name="one").commit("a", {"k": 1})
    borrower = make_set(root=tmp_path, name="borrower")
    assert agreeing(find_lenders(borrower.name, borrower.description.space), borrower.name, "float32", refuse) == []
    assert "cannot be compared (2 of 2" in caplog.text


def test_a_set_lends_nothing_to_itself(make_set: MakeSet, tmp_path: Path) -> None:
    made = make_set(root=tmp_path)
    made.commit("a", {"k": 1})
    assert borrow(made, [1]) == {}


def test_a_shard_with_one_changed_byte_lends_nothing(make_set: MakeSet, tmp_path: Path) -> None:
    lender = make_set(root=tmp_path, name="one")
    lender.commit("a", {"k": 1, "l": 2})
    [shard] = (lender.folder / "shards").iterdir()
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    shard.write_bytes(data)
    assert borrow(make_set(root=tmp_path, name="borrower"), [1]) == {}


def test_items_that_point_at_wrong_rows_lend_nothing(make_set: MakeSet, tmp_path: Path) -> None:
    lender = make_set(root=tmp_path, name="one")
    shard = lender.write_shard([1, 2])
    swapped = lender.items_table("a", {"k": 1, "l": 2}, {1: (shard.sha256, 1), 2: (shard.sha256, 0)})
    commit(lender.name, None, lender.draft_of("a", swapped, [shard]), "a")
    assert borrow(make_set(root=tmp_path, name="borrower"), [1, 2]) == {}


def test_a_shard_that_is_gone_is_as_if_never_embedded(make_set: MakeSet, tmp_path: Path) -> None:
    lender = make_set(root=tmp_path, name="one")
    lender.commit("a", {"k": 1, "l": 2, "m": 3}, per_shard=2)
    first = lender.open().items["shard"].to_pylist()[0]
    (lender.folder / "shards" / f"{first}.parquet").unlink()
    assert borrow(make_set(root=tmp_path, name="borrower"), [1, 2, 3]).keys() == {3}


def test_a_damaged_set_beside_it_stops_nobody(make_set: MakeSet, tmp_path: Path) -> None:
    make_set(root=tmp_path, name="one").commit("a", {"k": 1})
    broken = make_set(root=tmp_path, name="two")
    broken.commit("a", {"k": 2})
    (broken.folder / "set.json").write_text("{")
    assert borrow(make_set(root=tmp_path, name="borrower"), [1, 2]).keys() == {1}
