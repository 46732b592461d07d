"""Containers on servers and object stores: what is asked for, and what is told when that fails."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from obstore.store import LocalStore

from extractor import content, parquet_rows
from extractor.content import locate, read_content
from extractor.sources import list_corpus
from storage.errors import NotFoundError, PermafrostError, UsageError
from tests.extractor.containers import write_parquet, write_tar, write_tfrecord
from tests.extractor.listings import are_equal
from tests.extractor.site import Site

IMAGES = [random.Random(i).randbytes(100_000) for i in range(4)]  # large beside headers, and no image: nothing is decoded here
WRITERS: dict[str, Callable[[Path], Path]] = {
    "a.tar": lambda path: write_tar(
        path, {f"{i}.{end}": data for i, image in enumerate(IMAGES) for end, data in (("jpg", image), ("cls", b"x"))}
    ),
    "a.parquet": lambda path: write_parquet(path, IMAGES, 2, label=["x"] * 4),
    "a.tfrecord": lambda path: write_tfrecord(path, [{"image/encoded": image, "image/class/text": b"x"} for image in IMAGES]),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_server_is_asked_for_ranges_only_and_for_no_image_in_listing(site: Site, tmp_path: Path, name: str) -> None:
    whole = WRITERS[name](tmp_path / name).read_bytes()
    site.pages[f"/data/{name}"] = (200, whole)
    listing = list_corpus(f"{site.url}/data/{name}")
    assert [item.label for item in listing.items] == ["x"] * 4
    local = list_corpus(tmp_path / name)
    assert [item.key for item in listing.items] == [item.key for item in local.items]
    assert site.sent < 0.25 * len(whole)  # 16 KiB for each header
    assert all(line.startswith("HEAD") for line in site.asked[:1])
    listed = len(site.ranges)
    contents = [read_content(locate(listing.base, item)) for item in listing.items]
    assert [found.encoded for found in contents] == IMAGES
    gets = [line for line in site.asked if line.startswith("GET")]
    assert len(gets) == len(site.ranges)  # never a whole file
    asked = [last - first + 1 for first, last in site.ranges[listed:]]
    if name == "a.tar":  # exactly an item's bytes
        assert asked == [100_000] * 4
    if name == "a.tfrecord":  # with what else the checksum is of
        assert all(100_000 < n < 100_100 for n in asked)
        assert len(asked) == 4


def test_a_row_group_is_decoded_once_and_a_server_not_asked_for_each_row(site: Site, tmp_path: Path) -> None:
    site.pages["/p.parquet"] = (200, write_parquet(tmp_path / "p.parquet", [bytes([i]) * 500 for i in range(200)], 100).read_bytes())
    listing = list_corpus(f"{site.url}/p.parquet")
    site.asked.clear()
    for item in listing.items:
        assert len(read_content(locate(listing.base, item)).encoded) == 500
    assert len(site.asked) < 20


def test_a_server_without_ranges_is_told_in_words(site: Site, tmp_path: Path) -> None:
    site.pages["/a.tar"] = (200, WRITERS["a.tar"](tmp_path / "a.tar").read_bytes())
    listing = list_corpus(f"{site.url}/a.tar")
    site.knows_ranges = False
    assert read_content(listing.items[0].location).reason == "unreadable"
    with pytest.raises(PermafrostError, match=r"cannot read .* bytes of http://.*/a\.tar at offset 0"):
        list_corpus(f"{site.url}/a.tar")


def test_braces_on_a_server(site: Site, tmp_path: Path) -> None:
    for number in range(2):
        site.pages[f"/t/s-{number:02d}.tar"] = (200, write_tar(tmp_path / "a.tar", {f"{number}.jpg": b"x"}).read_bytes())
    assert [item.key for item in list_corpus(site.url + "/t/s-{00..01}.tar").items] == ["s-00.tar/0", "s-01.tar/1"]
    with pytest.raises(NotFoundError, match=r"cannot read .*/t/s-02\.tar: the server has no such object"):
        list_corpus(site.url + "/t/s-{00..02}.tar")
    with pytest.raises(UsageError, match="a web server cannot be asked what it has"):
        list_corpus(f"{site.url}/t/")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is read as the bucket s3://b."""
    root = tmp_path / "bucket"
    root.mkdir()
    monkeypatch.setattr(content, "_store", lambda url: {"s3://b": LocalStore(root)}[url])
    return root


@pytest.mark.parametrize("uri", ["s3://b/data/", "s3://b/data", "s3://b/data/s-*.tar", "s3://b/data/s-{0,1}.tar", "s3://b/data/s-?.tar"])
def test_prefixes_and_patterns_in_a_bucket(bucket: Path, uri: str) -> None:
    for number in range(2):
        write_tar(bucket / "data" / f"s-{number}.tar", {"a #%.jpg": b"image %d" % number})
    write_tar(bucket / "other.tar", {"x.jpg": b"x"})
    (bucket / "data" / "notes.txt").write_text("no container")
    listing = list_corpus(uri)
    assert [item.key for item in listing.items] == ["s-0.tar/a #%", "s-1.tar/a #%"]
    assert [read_content(locate(listing.base, item)).encoded for item in listing.items] == [b"image 0", b"image 1"]
    assert are_equal(list_corpus(str(listing.source)), listing)


def test_names_of_objects_are_quoted(bucket: Path) -> None:
    write_tar(bucket / "50% #1" / "ä.tar", {"a.jpg": b"image"})
    listing = list_corpus("s3://b/50%25%20%231/")
    assert [item.key for item in listing.items] == ["ä.tar/a"]
    assert read_content(listing.items[0].location).encoded == b"image"


def test_an_empty_prefix_and_secrets_are_refused(bucket: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no containers of images at s3://b/none/"):
        list_corpus("s3://b/none/")
    for uri in ("https://h/a.tar?signature=secret", "https://me:secret@h/a.tar", "s3://b/a.tar#x"):
        with pytest.raises(UsageError, match="cannot be a corpus") as told:
            list_corpus(uri)
        assert "secret@" not in str(told.value)
        assert "signature" not in str(told.value)


def test_a_list_may_name_parts_of_containers(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a b.tar", {"0.jpg": b"one", "1.jpg": b"other"})
    first, second = list_corpus(tar).items
    (tmp_path / "l.csv").write_text(f"key,path\nx,{first.location}\ny,{tar.as_uri()}{second.location.removeprefix('a b.tar')}\n")
    listing = list_corpus(tmp_path / "l.csv")
    assert [(item.stamp, item.bytes) for item in listing.items] == [(item.stamp, item.bytes) for item in (first, second)]
    assert [read_content(locate(listing.base, item)).encoded for item in listing.items] == [b"one", b"other"]


def test_a_container_that_shrank_is_a_changed_item(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {"0.jpg": b"x" * 5000})
    item = list_corpus(tar).items[0]
    tar.write_bytes(tar.read_bytes()[:1000])
    assert read_content(locate(tmp_path, item)).reason == "changed"
    tar.unlink()
    assert read_content(locate(tmp_path, item)).reason == "unreadable"


def test_rows_in_any_order_and_beyond_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [bytes([i]) * 1000 for i in range(100)]
    listing = list_corpus(write_parquet(tmp_path / "p.parquet", images, 60))
    for kept in (0, 1 << 20):
        monkeypatch.setattr(parquet_rows, "KEPT_BYTES", kept)
        parquet_rows._open.clear()
        for i in (99, 0, 59, 60, 5, 58, 57, 7):
            assert read_content(locate(listing.base, listing.items[i])).encoded == images[i]


def test_a_rewritten_parquet_file_is_not_read_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    item = list_corpus(write_parquet(path, [b"one"])).items[0]
    assert read_content(locate(tmp_path, item)).encoded == b"one"
    write_parquet(path, [b"other"])
    assert read_content(locate(tmp_path, item)).encoded == b"other"
