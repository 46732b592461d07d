"""A list file as a corpus: what becomes an item, an attribute, a reject, or an error in words."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extractor.content import locate
from extractor.corpus import Item, Listing
from extractor.sources import list_corpus
from storage.errors import UsageError
from tests.extractor.listings import attributes_of

WriteFiles = Callable[..., Path]


def write_list(path: Path, header: Sequence[str], *rows: Sequence[str | None]) -> Path:
    """A list as CSV, JSONL or Parquet, by the ending."""
    if path.suffix == ".csv":
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([header, *[["" if cell is None else cell for cell in row] for row in rows]])
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in rows))
    else:
        pq.write_table(pa.table({name: [row[i] for row in rows] for i, name in enumerate(header)}), path)
    return path


def reasons(listing: Listing) -> list[tuple[str, str]]:
    return [(reject.key, reject.reason) for reject in listing.rejects]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_paths_labels_splits_and_attributes_of_every_kind_of_list(write_files: WriteFiles, ending: str) -> None:
    root = write_files("b.jpg", "deep/a.jpg")
    rows = [("b.jpg", "coat", "train", "red"), ("deep/a.jpg", None, "test", None)]
    listing = list_corpus(write_list(root / f"list.{ending}", ("path", "label", "split", "colour"), *rows))
    assert [(i.key, i.label, i.split, i.location) for i in listing.items] == [
        ("b.jpg", "coat", "train", ""),
        ("deep/a.jpg", None, "test", ""),
    ]
    assert all(item.stamp == f"{s.st_size}-{s.st_mtime_ns}" for item in listing.items for s in [os.stat(root / item.key)])
    assert attributes_of(listing).to_pylist() == [{"colour": "red"}, {"colour": None}]
    assert (listing.listed, list(listing.rejects), listing.base) == (2, [], root.resolve())
    assert listing.corpus_id.startswith(f"list.{ending}-")


def test_a_key_of_its_own_keeps_the_path_as_an_attribute(write_files: WriteFiles) -> None:
    root = write_files("x/1.jpg", "x/2.jpg")
    listing = list_corpus(write_list(root / "l.csv", ("key", "path"), ("sku-2", "x/1.jpg"), ("sku-1", str(root / "x/2.jpg"))))
    assert [(i.key, i.location) for i in listing.items] == [("sku-1", str(root / "x/2.jpg")), ("sku-2", "x/1.jpg")]
    assert attributes_of(listing)["path"].to_pylist() == [str(root / "x/2.jpg"), "x/1.jpg"]
    assert [locate(listing.base, item) for item in listing.items] == [str(root / "x/2.jpg"), str(root.resolve() / "x/1.jpg")]


def test_paths_may_lead_out_of_the_lists_folder_and_be_file_uris(write_files: WriteFiles) -> None:
    root = write_files("images/a b.jpg")
    (root / "lists").mkdir()
    uri = (root / "images" / "a b.jpg").as_uri()
    listing = list_corpus(write_list(root / "lists" / "l.csv", ("path",), ("../images/a b.jpg",), (uri,)))
    assert [item.key for item in listing.items] == ["../images/a b.jpg", uri]
    assert [Path(locate(listing.base, item)).read_bytes() for item in listing.items] == [b"images/a b.jpg"] * 2


def test_a_repeated_key_is_a_reject_and_the_first_counts(write_files: WriteFiles) -> None:
    root = write_files("a.jpg", "b.jpg")
    listing = list_corpus(write_list(root / "l.csv", ("path", "label"), ("a.jpg", "one"), ("b.jpg", "x"), ("a.jpg", "two")))
    assert [(item.key, item.label) for item in listing.items] == [("a.jpg", "one"), ("b.jpg", "x")]
    assert reasons(listing) == [("a.jpg", "repeated-key")]
    assert next(listing.rejects).message == "row 3 has the key of row 1"
    assert listing.listed == 3


def test_what_is_not_there_and_what_is_no_file_are_rejects(write_files: WriteFiles) -> None:
    root = write_files("a.jpg", "folder/b.jpg")
    os.mkfifo(root / "pipe.jpg")
    listing = list_corpus(write_list(root / "l.jsonl", ("path",), ("a.jpg",), ("gone.jpg",), ("folder",), ("pipe.jpg",), ("nul\0.jpg",)))
    assert [item.key for item in listing.items] == ["a.jpg"]
    assert reasons(listing) == [("folder", "not-a-file"), ("gone.jpg", "missing"), ("nul\0.jpg", "missing"), ("pipe.jpg", "not-a-file")]


def test_numbers_and_lists_as_labels_become_text(write_files: WriteFiles) -> None:
    root = write_files("a.jpg", "b.jpg", "c.jpg")
    lines = [{"path": "a.jpg", "label": 3}, {"path": "b.jpg", "label": 4}]
    (root / "numbers.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [item.label for item in list_corpus(root / "numbers.jsonl").items] == ["3", "4"]
    (root / "lists.jsonl").write_text(json.dumps({"path": "a.jpg", "label": ["red", "coat"]}))
    assert [item.label for item in list_corpus(root / "lists.jsonl").items] == ["red|coat"]


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        (("file",), [("a.jpg",)], "must have a column path; it has file"),
        (("path",), [], "has no rows"),
        (("path", "digest", "row"), [("a.jpg", "x", "1")], "that a feature set uses itself: digest, row"),
        (("path", "label"), [("a.jpg", "x"), (None, "y")], "has no path in row 2"),
        (("path", "key"), [("a.jpg", None)], "has no key in row 1"),
        (("path",), [("a\\gone.jpg",)], "Its paths have backslashes: write them with /"),
        (("path",), [("gone.jpg",), ("also.jpg",)], "none of the 2 images in .* is there; the first is .*gone.jpg"),
    ],
)
def test_a_list_that_cannot_be_used_is_told_in_words(
    write_files: WriteFiles, header: tuple[str], rows: list[tuple[str]], said: str
) -> None:
    root = write_files("a.jpg")
    with pytest.raises(UsageError, match=said):
        list_corpus(write_list(root / "l.csv", header, *rows))


def test_a_file_uri_is_located_by_its_path(tmp_path: Path) -> None:
    assert locate(tmp_path, Item("k", "", location="file:///x/a%20b.jpg")) == "/x/a b.jpg"
    assert locate(tmp_path, Item("https://h/a.jpg", "")) == "https://h/a.jpg"
    assert locate(Path("/base"), Item("a.jpg", "")) == "/base/a.jpg"
