"""Parquet files of encoded images: keys, labels, attributes, damage."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extractor import parquet_rows
from extractor.content import locate, read_content
from extractor.corpus import Listing
from extractor.diff import reading_order
from extractor.plan import make_units
from extractor.sources import list_corpus
from storage.errors import UsageError
from tests.extractor.containers import write_parquet
from tests.extractor.listings import attributes_of

ONE: list[bytes | None] = [b"0", b"1", b"2"]


def encoded(listing: Listing) -> list[bytes]:
    return [read_content(locate(listing.base, item)).encoded for item in listing.items]


def test_rows_are_keyed_by_number_over_row_groups(tmp_path: Path) -> None:
    listing = list_corpus(write_parquet(tmp_path / "p.parquet", ONE, 2, split=["train", None, "test"]))
    assert [(item.key, item.split, item.location) for item in listing.items] == [
        ("p.parquet#00000000", "train", "p.parquet#group=000000&row=00000000"),
        ("p.parquet#00000001", None, "p.parquet#group=000000&row=00000001"),
        ("p.parquet#00000002", "test", "p.parquet#group=000001&row=00000000"),
    ]
    assert encoded(listing) == ONE


def test_a_column_key_is_the_key_and_repeated_or_missing_ones_are_rejects(tmp_path: Path) -> None:
    images: list[bytes | None] = [b"0", b"1", b"2", b"3", b"4"]
    listing = list_corpus(write_parquet(tmp_path / "p.parquet", images, key=["z", "a", "a", None, "../x"], sku=[0, 1, 2, 3, 4]))
    assert ([item.key for item in listing.items], encoded(listing)) == (["a", "z"], [b"1", b"0"])
    assert attributes_of(listing)["sku"].to_pylist() == [1, 0]
    assert sorted((reject.key, reject.reason) for reject in listing.rejects) == [
        ("../x", "bad-name"),
        ("a", "repeated-key"),
        ("p.parquet#00000003", "bad-name"),
    ]


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([0, 1, -1], ["ant", "bee"], ["ant", "bee", None]),
        ([0, 7, None], ["ant", "bee"], ["ant", None, None]),
        ([5, 6, None], None, ["5", "6", None]),
        (["x", "", None], None, ["x", None, None]),
        ([["a", "b"], [], None], None, ["a|b", "|", None]),
    ],
)
def test_labels(tmp_path: Path, labels: list[Any], names: list[str] | None, expected: list[str | None]) -> None:
    listing = list_corpus(write_parquet(tmp_path / "p.parquet", ONE, label=labels, class_names=names))
    assert [item.label for item in listing.items] == expected


def test_a_label_of_no_class_costs_no_image_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listing = list_corpus(write_parquet(tmp_path / "p.parquet", ONE, label=[-1, 7, -2], class_names=["ant", "bee"]))
    assert encoded(listing) == ONE
    [told] = caplog.messages
    assert told.startswith("2 items are kept without")
    assert told.endswith("the first is p.parquet#00000001: a label 7, of 2 classes")


def test_a_label_of_bytes_is_text_or_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listing = list_corpus(write_parquet(tmp_path / "p.parquet", ONE, label=["größe".encode(), b"\xff", None]))
    assert [item.label for item in listing.items] == ["größe", None, None]
    assert caplog.messages[0].endswith("the first is p.parquet#00000001: a label of bytes that are no UTF-8 text")


def test_scalar_columns_and_paths_are_attributes_over_several_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_parquet(tmp_path / "c" / "a.parquet", ONE[:2], 1, colour=["red", None], vector=[[1.0], [2.0]], blob=[b"x", b"y"])
    write_parquet(tmp_path / "c" / "deep" / "b.parquet", ONE[2:], height=[40])
    write_parquet(tmp_path / "c" / "e.parquet", [b"9"], struct=False)
    listing = list_corpus(tmp_path / "c")
    assert [item.key for item in listing.items] == [
        "a.parquet#00000000",
        "a.parquet#00000001",
        "deep/b.parquet#00000000",
        "e.parquet#00000000",
    ]
    assert attributes_of(listing).to_pydict() == {
        "colour": ["red", None, None, None],
        "image.path": ["0.jpg", "1.jpg", "0.jpg", None],
        "height": [None, None, 40, None],
    }
    assert caplog.messages == ["columns of bytes, lists or structs are no attributes and were left out: blob, vector"]


def test_a_column_of_several_kinds_in_several_files_is_text_and_numbers_are_widened(tmp_path: Path) -> None:
    write_parquet(tmp_path / "c" / "a.parquet", [b"0"], sku=[7], height=[40], code=[2**53 + 1])
    write_parquet(tmp_path / "c" / "b.parquet", [b"1"], sku=["007"], height=[40.5], code=[1.5])
    write_parquet(tmp_path / "c" / "c.parquet", [b"2"], sku=[None], height=[["nested"]])
    listing = list_corpus(tmp_path / "c")
    assert attributes_of(listing).select(["sku", "height", "code"]).to_pydict() == {
        "sku": ["7", "007", None],
        "height": [40.0, 40.5, None],
        "code": ["9007199254740993", "1.5", None],
    }


def test_binary_columns_of_both_widths_and_null_images(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": pa.array([b"0", None], pa.large_binary())}), tmp_path / "p.parquet")
    listing = list_corpus(tmp_path / "p.parquet")
    assert [(found.encoded, found.reason) for item in listing.items for found in [read_content(locate(listing.base, item))]] == [
        (b"0", ""),
        (b"", "empty"),
    ]
    listing = list_corpus(write_parquet(tmp_path / "s.parquet", [None, b"1"]))
    assert [read_content(locate(listing.base, item)).reason for item in listing.items] == ["empty", ""]


def test_columns_that_a_set_uses_itself_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="that a feature set uses itself: digest"):
        list_corpus(write_parquet(tmp_path / "p.parquet", ONE, digest=["a", "b", "c"]))


def test_a_row_group_is_decoded_once_however_its_keys_are_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 300
    keys = [f"{i * 7919 % n:05d}" for i in range(n)]  # a permutation
    path = write_parquet(tmp_path / "p.parquet", [b"%d" % i for i in range(n)], 20, key=keys)
    begun: list[int] = []
    begin = parquet_rows._RowGroup._begin

    def counted(self: parquet_rows._RowGroup) -> None:
        begun.append(self._group)
        begin(self)

    monkeypatch.setattr(parquet_rows._RowGroup, "_begin", counted)
    listing = list_corpus(path)
    units = make_units(reading_order(listing.items.rows.blocks()), 4)
    found = {item.key: read_content(locate(listing.base, item)).encoded for unit in units for item in unit.items}
    assert found == {key: b"%d" % i for i, key in enumerate(keys)}
    assert begun == list(range(15))


def test_an_image_over_the_limit_is_rejected_by_its_size(tmp_path: Path) -> None:
    listing = list_corpus(write_parquet(tmp_path / "p.parquet", [b"x" * 11]))
    assert read_content(locate(listing.base, listing.items[0]), max_bytes=10).reason == "too-large"
    assert read_content(locate(listing.base, listing.items[0]), max_bytes=11).encoded == b"x" * 11


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_rows, "MAX_UNPACKED", 100_000)
    monkeypatch.setattr(parquet_rows, "MAX_RATIO", 10)
    for images, reason in (([bytes(200_000)], "unreadable"), ([random.Random(0).randbytes(200_000)], ""), ([bytes(90_000)], "")):
        listing = list_corpus(write_parquet(tmp_path / "p.parquet", images))
        assert read_content(locate(listing.base, listing.items[0])).reason == reason


def test_damaged_images_are_rejects_and_so_is_the_container_of_a_damaged_footer(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "c" / "p.parquet", [bytes(range(256)) * 20] * 3)
    data = bytearray(path.read_bytes())
    data[5] ^= 0xFF  # in the header of the first page
    path.write_bytes(data)
    listing = list_corpus(path)
    found = [read_content(locate(listing.base, item)) for item in listing.items]
    assert [content.reason for content in found] == ["unreadable"] * 3
    assert "p.parquet is damaged" in found[0].message
    data[-6] ^= 0xFF  # in the length of the footer
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"no images in .*: the Parquet file p\.parquet is damaged"):
        list_corpus(path.parent)


def test_a_damaged_row_group_costs_the_others_nothing(tmp_path: Path) -> None:
    write_parquet(tmp_path / "c" / "p.parquet", [b"%d" % i for i in range(6)], 2, label=[f"label {i}" * 50 for i in range(6)])
    path = tmp_path / "c" / "p.parquet"
    data = bytearray(path.read_bytes())
    at = data.index(b"label 2")
    data[at - 60 : at] = b"\xff" * 60
    path.write_bytes(data)
    listing = list_corpus(path)
    assert [item.key for item in listing.items] == [f"p.parquet#{i:08d}" for i in (0, 1, 4, 5)]
    assert [(reject.key, reject.reason) for reject in listing.rejects] == [("p.parquet", "bad-container")]
    assert next(listing.rejects).message.startswith("the row group 1 of p.parquet is damaged")


def test_what_is_no_parquet_and_what_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "p.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(UsageError, match=r"the Parquet file p\.parquet is damaged"):
        list_corpus(tmp_path / "c")
    whole = write_parquet(tmp_path / "c" / "p.parquet", ONE).read_bytes()
    (tmp_path / "c" / "p.parquet").write_bytes(whole[:-20])
    with pytest.raises(UsageError, match="is damaged"):
        list_corpus(tmp_path / "c")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "c" / "p.parquet")
    with pytest.raises(UsageError, match=r"holds no images: expected a column image, .* it has x"):
        list_corpus(tmp_path / "c")


@pytest.mark.parametrize("named", ["c", "c/p.parquet"])
def test_an_image_column_of_another_type_is_told_with_its_type(tmp_path: Path, named: str) -> None:
    (tmp_path / "c").mkdir()
    for column, kind in ((pa.nulls(2), "null"), (pa.array(["a.jpg", "b.jpg"]), "string"), (pa.array([{"x": 1}]), "struct<x: int64>")):
        pq.write_table(pa.table({"image": column}), tmp_path / "c" / "p.parquet")
        with pytest.raises(UsageError, match=rf"expected a column image, binary or a struct with bytes; it has image \({kind}\)"):
            list_corpus(tmp_path / named)
