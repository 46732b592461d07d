"""TFRecord files: labels, places, damage and hostile records. What the tests read was written by TensorFlow itself."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from extractor.content import locate, read_content
from extractor.corpus import Listing
from extractor.crc32c import masked_crc32c
from extractor.sources import list_corpus
from storage.errors import UsageError
from tests.extractor.containers import example, write_tfrecord
from tests.extractor.listings import attributes_of


def encoded(listing: Listing) -> list[bytes]:
    return [read_content(locate(listing.base, item)).encoded for item in listing.items]


def test_labels_in_their_order_and_file_names_as_attributes(tmp_path: Path) -> None:
    records = [
        {"image/encoded": b"0" * 5000, "image/class/text": b"coat", "image/class/label": 3, "image/filename": b"a.jpg", "f": 0.5},
        {"label": 9, "image/class/label": 3, "image/encoded": b"1", "image/class/text": b""},
        {"image/encoded": b"2", "label": -1},
        {"image/encoded": b"", "label": "größe".encode()},
        {"image/encoded": b"4"},
    ]
    listing = list_corpus(write_tfrecord(tmp_path / "a.tfrecord", records))
    assert [(item.key, item.label, item.bytes) for item in listing.items] == [
        ("a.tfrecord#00000000", "coat", 5000),
        ("a.tfrecord#00000001", "3", 1),
        ("a.tfrecord#00000002", "-1", 1),
        ("a.tfrecord#00000003", "größe", 0),
        ("a.tfrecord#00000004", None, 1),
    ]
    assert encoded(listing) == [b"0" * 5000, b"1", b"2", b"", b"4"]
    assert attributes_of(listing).to_pydict() == {"filename": ["a.jpg", None, None, None, None]}


def test_files_in_folders_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("train-00001-of-00002", "train-00000-of-00002", "deep/x.tfrecord-00000-of-00001", "y.tfrecords"):
        write_tfrecord(tmp_path / "c" / name, [{"image/encoded": name.encode(), "image/filename": b"f"}, {"image/encoded": b"x"}])
    listing = list_corpus(tmp_path / "c")
    assert [item.key for item in listing.items][::2] == [
        "deep/x.tfrecord-00000-of-00001#00000000",
        "train-00000-of-00002#00000000",
        "train-00001-of-00002#00000000",
        "y.tfrecords#00000000",
    ]
    assert encoded(listing)[2] == b"train-00000-of-00002"
    assert attributes_of(listing)["filename"].to_pylist() == ["f", None] * 4


def test_a_file_without_bytes_is_counted(tmp_path: Path) -> None:
    write_tfrecord(tmp_path / "c" / "a.tfrecord", [GOOD])
    (tmp_path / "c" / "b.tfrecord").touch()
    assert list_corpus(tmp_path / "c").skipped == {"empty-container": 1}


GOOD = {"image/encoded": b"good"}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"image/raw": b"x"}, "expected a tf.train.Example with image/encoded, it has image/raw"),
        ({"image/encoded": 5}, "image/encoded is not one text of bytes"),
        (b"", "it has no features"),
        (b"\xff" * 50, "no number in the field at offset"),
        (b"\x0b\x0b", "no protobuf field"),
        (b"\x00\x00", "a field of number 0"),
        (b"\x08\x01", "field 1 at offset .* is of the wrong kind"),
        (b"\x0a\xff\xff\xff\xff\x07", "is longer than what holds it"),
        ({f"f{i}": 1 for i in range(10_001)}, "more than 10000 features"),
    ],
)
def test_a_record_without_an_image_is_a_reject_and_its_neighbours_unharmed(
    tmp_path: Path, record: dict[str, bytes | int | float] | bytes, said: str
) -> None:
    listing = list_corpus(write_tfrecord(tmp_path / "a.tfrecord", [GOOD, record, GOOD]))
    assert [item.key for item in listing.items] == ["a.tfrecord#00000000", "a.tfrecord#00000002"]
    assert encoded(listing) == [b"good", b"good"]
    assert [(reject.key, reject.reason) for reject in listing.rejects] == [("a.tfrecord#00000001", "bad-record")]
    assert next(listing.rejects).message.startswith("the record at offset ")
    with pytest.raises(UsageError, match=said):
        list_corpus(write_tfrecord(tmp_path / "b.tfrecord", [record]))


def test_a_label_or_name_that_cannot_be_read_costs_no_image(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records: list[dict[str, bytes | int | float]] = [
        {**GOOD, "label": b"y" * 70_000},
        {**GOOD, "image/class/label": 3, "image/filename": b"y" * 70_000},
        {**GOOD, "label": 4, "image/filename": b"f"},
    ]
    listing = list_corpus(write_tfrecord(tmp_path / "a.tfrecord", records))
    assert (encoded(listing), list(listing.rejects)) == ([b"good"] * 3, [])
    assert [item.label for item in listing.items] == [None, "3", "4"]
    assert attributes_of(listing).to_pydict() == {"filename": [None, None, "f"]}
    [told] = caplog.messages
    assert told.startswith("2 items are kept without")
    assert told.endswith("the first is a.tfrecord#00000000: a text of 70000 bytes, the limit is 65536")


def test_a_field_that_is_there_twice_counts_as_in_protobuf(tmp_path: Path) -> None:
    records = [example({"image/encoded": b"first"}) + example({"image/encoded": b"second", "label": 1 << 40})]
    listing = list_corpus(write_tfrecord(tmp_path / "a.tfrecord", records))
    assert (encoded(listing), listing.items[0].label) == ([b"second"], str(1 << 40))


def test_several_images_in_one_record_are_a_reject(tmp_path: Path) -> None:
    import tensorflow as tf

    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a", b"b"]))
    record = tf.train.Example(features=tf.train.Features(feature={"image/encoded": feature})).SerializeToString()
    with pytest.raises(UsageError, match="is not one text of bytes"):
        list_corpus(write_tfrecord(tmp_path / "a.tfrecord", [record]))


def test_a_file_that_is_cut_off_loses_nothing_without_a_word(tmp_path: Path) -> None:
    path = write_tfrecord(tmp_path / "a.tfrecord", [GOOD, GOOD])
    whole = path.read_bytes()
    second = len(whole) // 2
    for length in (second + 5, second + 12, second + 30, len(whole) - 1):
        path.write_bytes(whole[:length])
        listing = list_corpus(path)
        assert encoded(listing) == [b"good"]
        assert [(reject.key, reject.reason) for reject in listing.rejects] == [("a.tfrecord#00000001", "truncated")]
        assert f"within the record at offset {second}" in next(listing.rejects).message


def test_what_was_found_before_a_damaged_length_stays(tmp_path: Path) -> None:
    whole = write_tfrecord(tmp_path / "a.tfrecord", [GOOD, GOOD, GOOD]).read_bytes()
    second = len(whole) // 3
    (tmp_path / "a.tfrecord").write_bytes(whole[:second] + bytes(30) + whole[second + 30 :])
    listing = list_corpus(tmp_path / "a.tfrecord")
    assert encoded(listing) == [b"good"]
    assert [(reject.key, reject.reason) for reject in listing.rejects] == [("a.tfrecord", "bad-container")]
    assert f"the record at offset {second} has a length with a wrong checksum" in next(listing.rejects).message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no images in"),
        (b"\x1f\x8b" + bytes(50), "is not an uncompressed TFRecord file"),
        (struct.pack("<QI", 1 << 63, masked_crc32c(struct.pack("<Q", 1 << 63))), "within the record at offset 0"),
    ],
)
def test_damaged_and_hostile_files_are_refused_in_words(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "a.tfrecord").write_bytes(data)
    with pytest.raises(UsageError, match=said):
        list_corpus(tmp_path / "a.tfrecord")


def test_a_record_that_is_not_what_was_written_is_a_reject_when_it_is_read(tmp_path: Path) -> None:
    record: dict[str, bytes | int | float] = {"image/encoded": b"image" * 200, "image/filename": b"f"}
    whole = write_tfrecord(tmp_path / "a.tfrecord", [record, record]).read_bytes()
    image, end = whole.index(b"image" * 200), len(whole) // 2
    for at in (image, image + 999, whole.index(b"filename"), end - 1):  # the last one is of the checksum itself
        data = bytearray(whole)
        data[at] ^= 1
        (tmp_path / "a.tfrecord").write_bytes(data)
        listing = list_corpus(tmp_path / "a.tfrecord")
        found = [read_content(locate(listing.base, item)) for item in listing.items]
        assert [(content.encoded, content.reason) for content in found] == [(b"", "bad-checksum"), (b"image" * 200, "")]
        assert found[0].message.startswith("the record's data at offset 12 are not what was written")


def test_a_record_over_the_limit_is_rejected_by_its_size(tmp_path: Path) -> None:
    listing = list_corpus(write_tfrecord(tmp_path / "a.tfrecord", [{"image/encoded": b"x" * 11, "depth": b"y" * 100}]))
    assert read_content(locate(listing.base, listing.items[0]), max_bytes=50).reason == "too-large"
    assert read_content(locate(listing.base, listing.items[0]), max_bytes=500).encoded == b"x" * 11
