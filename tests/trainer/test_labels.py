from __future__ import annotations

import contextlib
import csv
import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import NotFoundError, PermafrostError, UsageError
from trainer.labels import LabelSet, join, labels_of_items, read_labels

WriteCsv = Callable[..., Path]


def items(*rows: tuple[str, str | None, str | None]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [[], [], []]
    return pa.table({name: pa.array(values, pa.string()) for name, values in zip(("key", "label", "split"), columns, strict=True)})


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("column", ["key", "path"])
def test_keys_labels_and_splits_are_read(write_csv: WriteCsv, column: str) -> None:
    path = write_csv([column, "label", "split"], ["a.jpg", "hat", "train"], ["b/c.jpg", "coat", ""])
    label_set = read_labels(path)
    assert label_set.labels == {"a.jpg": "hat", "b/c.jpg": "coat"}
    assert label_set.splits == {"a.jpg": "train"}
    assert (label_set.source, label_set.digest) == (str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def test_key_goes_before_path(write_csv: WriteCsv) -> None:
    assert read_labels(write_csv(["path", "key", "label"], ["p", "k", "hat"])).labels == {"k": "hat"}


def test_other_columns_and_their_order_do_not_matter(write_csv: WriteCsv) -> None:
    assert read_labels(write_csv(["price", "label", "key"], ["3", "hat", "a.jpg"])).labels == {"a.jpg": "hat"}


def test_a_row_without_label_counts_as_unlabelled(write_csv: WriteCsv) -> None:
    assert read_labels(write_csv(["key", "label"], ["a", ""], ["b", "  "], ["c", "hat"])).labels == {"c": "hat"}


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    assert read_labels(write(tmp_path, b"\xef\xbb\xbfkey,label\r\na.jpg,hat\r\n")).labels == {"a.jpg": "hat"}


def test_the_same_label_twice_is_fine(write_csv: WriteCsv) -> None:
    assert read_labels(write_csv(["key", "label"], ["a", "hat"], ["a", "hat"])).labels == {"a": "hat"}


def test_two_labels_for_a_key_are_told_with_the_line(write_csv: WriteCsv) -> None:
    with pytest.raises(UsageError, match=r"gives 'a' two labels, 'hat' and 'coat' \(line 3\)"):
        read_labels(write_csv(["key", "label"], ["a", "hat"], ["a", "coat"]))


def test_two_splits_for_a_key_are_told(write_csv: WriteCsv) -> None:
    with pytest.raises(UsageError, match="split"):
        read_labels(write_csv(["key", "label", "split"], ["a", "hat", "test"], ["a", "hat", "train"]))


@pytest.mark.parametrize(
    ("content", "has"), [("", "none"), ("a.jpg,hat\n", "a.jpg, hat"), ("key;label\na;b\n", "key;label"), ("key\na\n", "key")]
)
def test_missing_columns_are_told_with_those_that_are_there(tmp_path: Path, content: str, has: str) -> None:
    with pytest.raises(UsageError, match=f"must have the columns key .* and label; it has {has}"):
        read_labels(write(tmp_path, content))


def test_a_file_that_is_not_utf8_is_told_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not UTF-8 text: .* at byte 13"):
        read_labels(write(tmp_path, b"key,label\ncaf\xe9.jpg,hat\n"))


def test_utf_16_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        read_labels(write(tmp_path, "key,label\na,hat\n".encode("utf-16")))


@pytest.mark.parametrize("name", ["nowhere.csv", "."])
def test_a_file_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match="no such label file"):
        read_labels(tmp_path / name)


@pytest.mark.parametrize("name", ["labels.csv/x", "x" * 5000, "a\0b"])
def test_a_path_that_cannot_be_opened_is_told(tmp_path: Path, name: str) -> None:
    write(tmp_path, "key,label\n")
    with pytest.raises(PermafrostError):
        read_labels(tmp_path / name)


def test_a_quote_that_is_never_closed_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read_labels(write(tmp_path, 'key,label\n"a,cat\n' + "b.jpg,dog\n" * 20_000))


def test_a_row_without_key_is_no_label(tmp_path: Path) -> None:
    with contextlib.suppress(UsageError):
        assert None not in read_labels(write(tmp_path, "label,key\nhat\ncoat,a.jpg\n")).labels


KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
LABELS = st.text("abc ,\"'é", min_size=1, max_size=5).filter(lambda text: text.strip())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, LABELS, max_size=4))
def test_what_csv_writes_is_read_back(tmp_path: Path, labels: dict[str, str]) -> None:
    path = tmp_path / "labels.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("key", "label"), *labels.items()])
    assert read_labels(path).labels == {key: label.strip() for key, label in labels.items()}


def test_labels_of_items_are_those_of_class_folders() -> None:
    label_set = labels_of_items(items(("a", "hat", "train"), ("b", None, None), ("c", "coat", None)), "the set")
    assert (label_set.labels, label_set.splits, label_set.digest) == ({"a": "hat", "c": "coat"}, {"a": "train"}, None)


def test_items_without_any_label_are_told() -> None:
    with pytest.raises(UsageError, match=r"the items of the set carry no labels .*pass --labels FILE"):
        labels_of_items(items(("a", None, None)), "the set")


def test_join_keeps_item_order_and_counts_what_did_not_meet() -> None:
    label_set = LabelSet({"c": "hat", "a": "coat", "x": "hat", "y": "hat"}, {"a": "test", "x": "train"}, "labels.csv")
    joined = join(items(("a", None, None), ("b", None, None), ("c", None, None)), label_set)
    assert (joined.positions, joined.labels, joined.splits) == ([0, 2], ["coat", "hat"], ["test", None])
    assert (joined.unlabelled_items, joined.unmatched_labels) == (1, 2)


def test_labels_that_fit_nothing_are_told_with_a_key_of_either_side() -> None:
    with pytest.raises(
        UsageError, match=r"none of the 1 labels in labels.csv fits any of the 1 items: .*'a/b.jpg', the labels like 'b.jpg'"
    ):
        join(items(("a/b.jpg", None, None)), LabelSet({"b.jpg": "hat"}, {}, "labels.csv"))


def test_an_empty_set_or_label_set_fits_nothing() -> None:
    with pytest.raises(UsageError, match=r"\(none\)"):
        join(items(), LabelSet({"b.jpg": "hat"}, {}, "labels.csv"))
    with pytest.raises(UsageError, match=r"\(none\)"):
        join(items(("a", None, None)), LabelSet({}, {}, "labels.csv"))
