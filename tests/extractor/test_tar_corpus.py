"""WebDataset tars: samples, labels, formats of headers, damage and hostile archives."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from extractor.content import locate, read_content
from extractor.corpus import Listing
from extractor.sources import list_corpus
from storage.errors import UsageError
from tests.extractor.containers import write_tar


def rejects(listing: Listing) -> list[tuple[str, str]]:
    return [(reject.key, reject.reason) for reject in listing.rejects]


def encoded(listing: Listing) -> list[bytes]:
    return [read_content(locate(listing.base, item)).encoded for item in listing.items]


def test_samples_labels_and_splits(tmp_path: Path) -> None:
    members = {
        "./0.jpg": b"0",
        "./0.cls": b" 7\n",
        "a.b/1.json": b'{"label": "coat", "split": "train", "caption": "x"}',
        "a.b/1.left.JPG": b"1",
        "2.txt": b"no label",
        "2.png": b"2",
        "3.json": b'{"label": ["red", "coat"]}',
        "3.webp": b"3",
        ".hidden.jpg": b"x",
        "4.cls": b"a label without an image",
    }
    listing = list_corpus(write_tar(tmp_path / "t.tar", members))
    assert [(item.key, item.label, item.split, item.bytes) for item in listing.items] == [
        ("t.tar/0", "7", None, 1),
        ("t.tar/2", None, None, 1),
        ("t.tar/3", "red|coat", None, 1),
        ("t.tar/a.b/1", "coat", "train", 1),
    ]
    assert encoded(listing) == [b"0", b"2", b"3", b"1"]
    assert (list(listing.rejects), listing.skipped) == ([], {"hidden": 1, "not-an-image-name": 1})


def test_a_second_image_of_a_sample_is_a_reject(tmp_path: Path) -> None:
    listing = list_corpus(write_tar(tmp_path / "t.tar", {"0.jpg": b"a", "0.seg.png": b"b", "1.jpg": b"c"}))
    assert [item.key for item in listing.items] == ["t.tar/0", "t.tar/1"]
    assert (encoded(listing)[0], rejects(listing)) == (b"a", [("t.tar/0", "repeated-key")])


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_in_every_format(tmp_path: Path, format_: int) -> None:
    names = ["a" * 90 + "/" + "b" * 95, "ä/ö", "plain"]
    listing = list_corpus(write_tar(tmp_path / "t.tar", {f"{name}.jpg": name.encode() for name in names}, format=format_))
    assert {item.key: data for item, data in zip(listing.items, encoded(listing), strict=True)} == {
        f"t.tar/{name}": name.encode() for name in names
    }
    if format_ != tarfile.USTAR_FORMAT:
        longer = "c/" * 200 + "d"
        assert list_corpus(write_tar(tmp_path / "l.tar", {f"{longer}.jpg": b"x"}, format=format_)).items[0].key == f"l.tar/{longer}"


def test_concatenated_archives_are_read_to_the_end(tmp_path: Path) -> None:
    parts = [write_tar(tmp_path / f"{i}.tar", {f"{i}.jpg": b"%d" % i}).read_bytes() for i in range(2)]
    (tmp_path / "both.tar").write_bytes(b"".join(parts))
    assert encoded(list_corpus(tmp_path / "both.tar")) == [b"0", b"1"]
    (tmp_path / "more.tar").write_bytes(parts[0] + b"what somebody put behind it")
    listing = list_corpus(tmp_path / "more.tar")
    assert (encoded(listing), list(listing.rejects)) == ([b"0"], [])


def test_links_sparse_files_and_bad_names_are_rejects_and_their_neighbours_unharmed(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("l.jpg", tarfile.SYMTYPE), ("h.jpg", tarfile.LNKTYPE), ("p.jpg", tarfile.FIFOTYPE), ("d.jpg", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        for name in ("../out.jpg", "/etc/x.jpg", "bad\udcff.jpg", "sp.jpg", "good.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 4
            if name == "sp.jpg":
                info.pax_headers = {"GNU.sparse.major": "1"}
            archive.addfile(info, io.BytesIO(b"data"))
    listing = list_corpus(path)
    assert [item.key for item in listing.items] == ["t.tar/good"]
    assert encoded(listing) == [b"data"]
    assert rejects(listing) == sorted(
        [
            ("t.tar/l", "not-a-file"),
            ("t.tar/h", "not-a-file"),
            ("t.tar/p", "not-a-file"),
            ("t.tar/../out", "bad-name"),
            ("t.tar//etc/x", "bad-name"),
            ("t.tar/bad\\xff", "bad-name"),
            ("t.tar/sp", "not-a-file"),
        ]
    )


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("0.json", b"{", "not JSON"),
        ("0.json", b"[" * 100_000, "nested too deeply"),
        ("0.json", b'["coat"]', "0.json holds no object with a label, but a list"),
        ("0.json", b'{"label": "\\ud800"}', "half a character"),
        ("0.cls", b"\xff", "not UTF-8"),
        ("0.cls", b"x" * (1 << 21), "the limit is 1048576"),
    ],
)
def test_a_label_that_cannot_be_read_costs_no_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, data: bytes, said: str
) -> None:
    listing = list_corpus(write_tar(tmp_path / "t.tar", {"0.jpg": b"x", name: data, "1.jpg": b"y", "1.cls": b"coat"}))
    assert rejects(listing) == []
    assert encoded(listing) == [b"x", b"y"]
    assert [(item.label, item.split) for item in listing.items] == [(None, None), ("coat", None)]
    [told] = caplog.messages
    assert told.startswith("1 items are kept without a label, split or file name, because it cannot be read; the first is t.tar/0: ")
    assert said in told


def test_a_label_that_can_be_read_stays_beside_a_split_that_cannot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    members = {
        "0.jpg": b"0",
        "0.json": b"no JSON",
        "0.cls": b"coat",
        "1.jpg": b"1",
        "1.json": b'{"label": "hat", "split": "\\udcff"}',
        "2.jpg": b"2",
        "2.json": b'{"label": "hat", "split": "test"}',
        "2.cls": b"\xff",
        "3.jpg": b"3",
        "3.json": b'["a coat on a chair"]',
        "3.cls": b"coat",
    }
    listing = list_corpus(write_tar(tmp_path / "t.tar", members))
    assert [(item.label, item.split) for item in listing.items] == [("coat", None), ("hat", None), (None, "test"), ("coat", None)]
    assert caplog.messages[0].startswith("3 items are kept without")


def test_a_tar_that_is_cut_off_loses_nothing_without_a_word(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "t.tar", {"0.jpg": b"x" * 600, "1.jpg": b"y" * 600}).read_bytes()
    for length, lost in ((1536 + 512 + 100, "t.tar/1.jpg"), (1536 + 200, "t.tar"), (1536, "t.tar"), (1536 + 512, "t.tar/1.jpg")):
        (tmp_path / "t.tar").write_bytes(whole[:length])
        listing = list_corpus(tmp_path / "t.tar")
        assert encoded(listing) == [b"x" * 600]
        assert rejects(listing) == [(lost, "truncated")]
        assert "at offset 1536" in next(listing.rejects).message


def test_what_was_found_before_a_damaged_header_stays(tmp_path: Path) -> None:
    data = bytearray(write_tar(tmp_path / "t.tar", {f"{i}.jpg": b"%d" % i for i in range(4)}).read_bytes())
    data[2048:2560] = b"y" * 512
    (tmp_path / "t.tar").write_bytes(data)
    listing = list_corpus(tmp_path / "t.tar")
    assert (encoded(listing), rejects(listing)) == ([b"0", b"1"], [("t.tar", "bad-container")])
    assert next(listing.rejects).message.startswith("t.tar is damaged: no tar header at offset 2048")


def header(name: str, size: int, kind: bytes = b"0") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no images in .* before its end mark"),
        (b"not a tar" * 100, "is not an uncompressed tar archive .* at offset 0"),
        (b"short", "is not an uncompressed tar archive .* at offset 0"),
        (header("a.jpg", 10**18), "no images in .* ends at offset 0"),
        (header("a.jpg", -5), "a negative size at offset 0"),
        (header("x", 1 << 30, b"L") + bytes(512), "no images in .* ends at offset 0"),
        (header("x", 30, b"x") + b"9999999999 path=a\n".ljust(512, b"\0"), "a bad pax header at offset 0"),
        (header("x", 30, b"x") + b"0 path=a\n".ljust(512, b"\0"), "a bad pax header at offset 0"),
        (header("x", 30, b"x") + b"12 size=-10\n".ljust(512, b"\0"), "a bad pax header at offset 0"),
    ],
)
def test_damaged_and_hostile_archives_are_refused_in_words(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "t.tar").write_bytes(data)
    with pytest.raises(UsageError, match=said):
        list_corpus(tmp_path / "t.tar")


@pytest.mark.parametrize("kind", [b"L", b"x"])
def test_a_huge_extended_header_is_refused_before_it_is_read(tmp_path: Path, kind: bytes) -> None:
    with open(tmp_path / "t.tar", "wb") as file:
        file.write(header("x", 1 << 40, kind))
        os.truncate(file.fileno(), (1 << 40) + 1024)  # a sparse file of a terabyte
    with pytest.raises(UsageError, match="an extended header of 1099511627776 bytes at offset 0, the limit is 1048576"):
        list_corpus(tmp_path / "t.tar")


def test_zeros_without_end_are_not_walked(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", {"0.jpg": b"x"})
    os.truncate(tmp_path / "t.tar", 1 << 40)
    assert [item.key for item in list_corpus(tmp_path / "t.tar").items] == ["t.tar/0"]
