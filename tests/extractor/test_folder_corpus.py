from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from extractor.corpus import derived_id
from extractor.folder_corpus import IMAGE_SUFFIXES, list_folder
from extractor.sources import list_corpus
from storage.errors import NotFoundError, UsageError
from storage.names import check_name

Write = Callable[..., Path]


def keys(root: Path) -> list[str]:
    return [item.key for item in list_folder(root).items]


def label_and_split(root: Path) -> dict[str, tuple[str | None, str | None]]:
    return {item.key: (item.label, item.split) for item in list_folder(root).items}


def test_keys_are_relative_paths_in_byte_order(write_files: Write) -> None:
    root = write_files("b/z.jpg", "b/a/deep/er/x.png", "a.jpg", "B.jpg", "b.jpg", "é.jpg", "b-c/d.jpg")
    assert keys(root) == ["B.jpg", "a.jpg", "b-c/d.jpg", "b.jpg", "b/a/deep/er/x.png", "b/z.jpg", "é.jpg"]


def test_order_does_not_depend_on_creation(tmp_path: Path) -> None:
    names = [f"{i:03d}.jpg" for i in range(50)]
    for folder, order in (("one", names), ("two", names[::-1])):
        (tmp_path / folder).mkdir()
        for name in order:
            (tmp_path / folder / name).touch()
    assert keys(tmp_path / "one") == keys(tmp_path / "two") == names


def test_every_image_ending_counts_in_any_case(write_files: Write) -> None:
    names = [f"x{i}{suffix.upper() if i % 2 else suffix}" for i, suffix in enumerate(sorted(IMAGE_SUFFIXES))]
    assert sorted(keys(write_files(*names))) == sorted(names)


def test_other_endings_are_skipped_and_counted(write_files: Write) -> None:
    listing = list_folder(write_files("a.jpg", "notes.txt", "jpg", "a.jpg.bak", "vector.eps", "doc.pdf", "a.svg"))
    assert [item.key for item in listing.items] == ["a.jpg"]
    assert listing.skipped == {"not-an-image-name": 6}


def test_hidden_files_and_folders_are_skipped_and_counted(write_files: Write) -> None:
    listing = list_folder(write_files("a.jpg", ".b.jpg", ".jpg", ".thumbs/c.jpg", "d/._e.jpg"))
    assert [item.key for item in listing.items] == ["a.jpg"]
    assert listing.skipped == {"hidden": 4}


def test_unicode_names_are_keys_as_they_are(write_files: Write) -> None:
    names = ["衣服/外套.jpg", "e\u0301.jpg", "\u00e9.jpg", "🧥/a b.png", "line\nbreak.jpg", "tab\t'\".jpg", "a\\b.jpg"]
    assert sorted(keys(write_files(*names))) == sorted(names)


def test_very_long_names_are_listed(write_files: Write) -> None:
    long_name = "n" * 251 + ".jpg"
    deep = "/".join(["d" * 200] * 15) + "/x.jpg"
    root = write_files(long_name, deep)
    assert keys(root) == [deep, long_name]


def test_a_name_that_is_not_utf8_is_listed_apart_with_an_escaped_key(write_files: Write) -> None:
    root = write_files("a.jpg")
    for name in (b"caf\xe9.jpg", b"\xff\xfe.png"):
        Path(os.fsdecode(os.path.join(os.fsencode(root), name))).write_bytes(b"x")
    listing = list_folder(root)
    assert [item.key for item in listing.items] == ["a.jpg"]
    assert [item.key for item in listing.rejects] == ["\\xff\\xfe.png", "caf\\xe9.jpg"]
    assert all(item.stamp for item in listing.rejects)


def test_names_in_a_folder_that_is_not_utf8_are_listed_apart(write_files: Write) -> None:
    root = write_files("a.jpg")
    folder = os.path.join(os.fsencode(root), b"\x80")
    os.mkdir(folder)
    Path(os.fsdecode(os.path.join(folder, b"x.jpg"))).write_bytes(b"x")
    listing = list_folder(root)
    assert [item.key for item in listing.rejects] == ["\\x80/x.jpg"]


def test_a_link_to_an_image_inside_is_an_item(write_files: Write) -> None:
    root = write_files("a/x.jpg")
    (root / "y.jpg").symlink_to("a/x.jpg")
    assert keys(root) == ["a/x.jpg", "y.jpg"]


def test_a_link_that_leads_outside_is_skipped(write_files: Write, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    root = write_files("a.jpg")
    (root / "absolute.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "relative.jpg").symlink_to("../secret.jpg")
    (root / "two-steps.jpg").symlink_to("absolute.jpg")
    listing = list_folder(root)
    assert [item.key for item in listing.items] == ["a.jpg"]
    assert listing.skipped == {"link-outside": 3}


def test_a_sibling_folder_with_the_same_prefix_is_outside(write_files: Write, tmp_path: Path) -> None:
    (tmp_path / "corpus-private").mkdir()
    (tmp_path / "corpus-private" / "x.jpg").write_bytes(b"x")
    root = write_files("a.jpg")
    (root / "x.jpg").symlink_to("../corpus-private/x.jpg")
    assert list_folder(root).skipped == {"link-outside": 1}


def test_broken_links_and_loops_are_skipped(write_files: Write) -> None:
    root = write_files("a.jpg")
    (root / "broken.jpg").symlink_to("nowhere.jpg")
    (root / "self.jpg").symlink_to("self.jpg")
    (root / "ping.jpg").symlink_to("pong.jpg")
    (root / "pong.jpg").symlink_to("ping.jpg")
    assert list_folder(root).skipped == {"broken-link": 4}


def test_links_to_folders_are_not_followed(write_files: Write, tmp_path: Path) -> None:
    root = write_files("a/x.jpg")
    (root / "a" / "up").symlink_to(root)
    (root / "twin").symlink_to("a")
    (root / "away").symlink_to(tmp_path)
    listing = list_folder(root)
    assert [item.key for item in listing.items] == ["a/x.jpg"]
    assert listing.skipped == {"link-to-folder": 3}


def test_a_corpus_given_as_a_link_is_listed(write_files: Write, tmp_path: Path) -> None:
    root = write_files("a.jpg")
    (root / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "link").symlink_to(root)
    listing = list_folder(tmp_path / "link")
    assert [item.key for item in listing.items] == ["a.jpg", "b.jpg"]
    assert listing.corpus_id == list_folder(root).corpus_id


def test_what_is_no_regular_file_is_skipped(write_files: Write) -> None:
    root = write_files("a.jpg")
    os.mkfifo(root / "pipe.jpg")
    (root / "folder.jpg").mkdir()
    (root / "to-pipe.jpg").symlink_to("pipe.jpg")
    listing = list_folder(root)
    assert [item.key for item in listing.items] == ["a.jpg"]
    assert listing.skipped == {"not-a-file": 2}


def test_top_folders_are_labels_also_below_deeper_folders(write_files: Write) -> None:
    root = write_files("dress/a.jpg", "dress/red/old/b.jpg", "hat/c.jpg", "top.jpg")
    assert label_and_split(root) == {
        "dress/a.jpg": ("dress", None),
        "dress/red/old/b.jpg": ("dress", None),
        "hat/c.jpg": ("hat", None),
        "top.jpg": (None, None),
    }


def test_split_folders_give_split_and_label(write_files: Write) -> None:
    root = write_files("train/hat/a.jpg", "val/hat/b.jpg", "valid/hat/c.jpg", "Validation/hat/d.jpg", "TEST/hat/deep/e.jpg", "train/f.jpg")
    assert label_and_split(root) == {
        "train/hat/a.jpg": ("hat", "train"),
        "val/hat/b.jpg": ("hat", "validation"),
        "valid/hat/c.jpg": ("hat", "validation"),
        "Validation/hat/d.jpg": ("hat", "validation"),
        "TEST/hat/deep/e.jpg": ("hat", "test"),
        "train/f.jpg": (None, "train"),
    }


def test_one_other_top_folder_makes_split_names_plain_labels(write_files: Write) -> None:
    root = write_files("train/hat/a.jpg", "test/hat/b.jpg", "extra/hat/c.jpg")
    assert [item.label for item in list_folder(root).items] == ["extra", "test", "train"]


def test_a_file_at_the_top_does_not_undo_split_folders(write_files: Write) -> None:
    root = write_files("train/hat/a.jpg", "test/hat/b.jpg", "cover.jpg")
    assert label_and_split(root) == {"train/hat/a.jpg": ("hat", "train"), "test/hat/b.jpg": ("hat", "test"), "cover.jpg": (None, None)}


def test_the_stamp_changes_with_size_and_with_time(write_files: Write) -> None:
    root = write_files("a.jpg")
    first = list_folder(root).items[0].stamp
    assert list_folder(root).items[0].stamp == first
    os.utime(root / "a.jpg", ns=(1, 1))
    second = list_folder(root).items[0].stamp
    (root / "a.jpg").write_bytes(b"longer than before")
    os.utime(root / "a.jpg", ns=(1, 1))
    assert len({first, second, list_folder(root).items[0].stamp}) == 3


def test_no_image_is_opened_while_listing(write_files: Write) -> None:
    root = write_files("empty.jpg", "text.png")
    (root / "empty.jpg").write_bytes(b"")
    assert keys(root) == ["empty.jpg", "text.png"]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such folder"):
        list_corpus(tmp_path / "nowhere")


def test_a_file_in_place_of_a_folder_is_told(write_files: Write) -> None:
    with pytest.raises(UsageError, match="neither a folder nor a list"):
        list_corpus(write_files("a.jpg") / "a.jpg")


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no images in .*it is empty"):
        list_folder(tmp_path)


def test_a_folder_without_images_says_what_was_skipped(write_files: Write) -> None:
    with pytest.raises(UsageError, match="1 hidden, 2 not-an-image-name"):
        list_folder(write_files("a.txt", "b.txt", ".c"))


def test_the_id_is_given_or_derived(write_files: Write) -> None:
    root = write_files("a.jpg")
    assert list_folder(root, "mine").corpus_id == "mine"
    assert list_folder(root).corpus_id == derived_id(root.resolve())
    assert list_folder(root).corpus_id.startswith("corpus-")


def test_equal_folder_names_have_different_ids() -> None:
    assert derived_id(Path("/one/photos")) != derived_id(Path("/two/photos"))
    assert derived_id(Path("/one/photos")) == derived_id(Path("/one/photos"))


@pytest.mark.parametrize("name", ["衣服", "-", ".hidden", "a b/c d", "x" * 300, "", "..."])
def test_a_derived_id_is_always_a_usable_name(name: str) -> None:
    assert check_name(derived_id(Path("/data") / name), "corpus id")


def test_a_derived_id_of_a_folder_that_is_not_utf8_is_a_usable_name() -> None:
    assert check_name(derived_id(Path(os.fsdecode(b"/data/\xff\xfe"))), "corpus id")


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user of the machine can reach: pytest's own are private."""
    folder = Path(tempfile.mkdtemp(prefix="permafrost-test-"))
    folder.chmod(0o755)
    yield folder
    (folder / "locked").chmod(0o755)
    shutil.rmtree(folder)


DROP_AND_LIST = """
import os, sys
from pathlib import Path
from extractor.folder_corpus import list_folder
if os.geteuid() == 0:  # root may read everything
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
list_folder(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_an_unreadable_folder_stops_the_listing(public_folder: Path) -> None:
    (public_folder / "a.jpg").write_bytes(b"a")
    (public_folder / "locked").mkdir()
    (public_folder / "locked").chmod(0)
    command = [sys.executable, "-c", DROP_AND_LIST, str(public_folder)]
    process = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2], check=False)
    assert "PermafrostError: cannot list" in process.stderr
    assert "locked" in process.stderr
