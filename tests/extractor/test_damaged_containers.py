"""Damaged containers: a listing that accounts for what it saw, or an error in words; nothing else, nor any crash in reading."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from extractor.content import locate, read_content
from extractor.sources import list_corpus
from storage.errors import DamagedError, PermafrostError, UsageError
from tests.extractor.containers import write_parquet, write_tar, write_tfrecord

pytestmark = pytest.mark.slow

IMAGES = [random.Random(i).randbytes(60) for i in range(6)]
WRITERS: dict[str, Callable[[Path], Path]] = {
    "a.tar": lambda path: write_tar(
        path, {f"{'deep/' * 30}{i}.{end}": b for i, b in enumerate(IMAGES) for end, b in (("jpg", b), ("cls", b"x"))}
    ),
    "a.parquet": lambda path: write_parquet(path, IMAGES, 2, label=list("abcdef"), split=["train"] * 6),
    "a.tfrecord": lambda path: write_tfrecord(path, [{"image/encoded": b, "image/class/label": 3, "image/filename": b"f"} for b in IMAGES]),
}


def in_the_middle(path: Path) -> bytes:
    """A file whose second half cannot be found."""
    data = bytearray(path.read_bytes())
    at = {".tar": len(data) // 2 & ~511, ".parquet": len(data) - 30, ".tfrecord": len(data) // 2}[path.suffix]
    data[at : at + 12] = b"\xff" * 12
    return bytes(data)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("damage", [lambda path: b"not what its name says" * 100, in_the_middle], ids=["no container", "in the middle"])
def test_one_broken_container_costs_no_other_its_images(tmp_path: Path, name: str, damage: Callable[[Path], bytes]) -> None:
    path = tmp_path / "c" / f"broken{Path(name).suffix}"
    WRITERS[name](path).write_bytes(damage(WRITERS[name](path)))
    for other in ("a", "z"):
        WRITERS[name](path.with_stem(other))
    listing = list_corpus(path.parent)
    items = [item for item in listing.items if not item.key.startswith(path.name)]
    assert [read_content(locate(listing.base, item)).encoded for item in items] == IMAGES * 2
    assert [(reject.key, reject.reason) for reject in listing.rejects] == [(path.name, "bad-container")]
    [reject] = listing.rejects
    assert path.name in reject.message
    assert reject.message.endswith("; make or fetch it anew")
    for item in listing.items:
        if item.key.startswith(path.name):
            assert read_content(locate(listing.base, item)).encoded in IMAGES


@pytest.mark.parametrize("name", WRITERS)
def test_a_corpus_of_broken_containers_only_is_refused_with_what_is_wrong(tmp_path: Path, name: str) -> None:
    for stem in ("a", "b"):
        (tmp_path / name).with_stem(stem).write_bytes(b"not what its name says" * 100)
    with pytest.raises(UsageError, match=rf"no images in .*; the first problem of 2: .*\b{name}\b"):
        list_corpus(tmp_path)
    with pytest.raises(UsageError, match=rf"{name} is not .*" if name == "a.parquet" else "the first problem of 1: a.* is not"):
        list_corpus(tmp_path / name)


@pytest.mark.parametrize("name", WRITERS)
def test_what_cannot_be_read_now_is_an_error_and_not_taken_for_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = WRITERS[name](tmp_path / name)
    WRITERS[name](path.with_stem("b"))

    def failing(descriptor: int, length: int, offset: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("extractor.container.os.pread", failing)
    with pytest.raises(PermafrostError, match=rf"cannot read .*{name} at offset .*: Input/output error; run again") as told:
        list_corpus(tmp_path)
    assert not isinstance(told.value, DamagedError)


@pytest.mark.parametrize("name", WRITERS)
def test_every_damage_is_a_reject_or_an_error_in_words(tmp_path: Path, name: str) -> None:
    (tmp_path / "c").mkdir()
    path = WRITERS[name](tmp_path / "c" / name)
    whole = path.read_bytes()
    rng = random.Random(7)
    outcomes = set()
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 1, 20])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            listing = list_corpus(path.parent)
        except PermafrostError as error:
            outcomes.add("error")
            told = str(error)
            assert "\n" not in told
            continue
        outcomes.add("listing")
        assert len({item.key for item in listing.items}) == len(listing.items)
        for item in listing.items:
            read_content(locate(listing.base, item))
        for reject in listing.rejects:
            (reject.key + reject.message).encode()
    assert outcomes == {"error", "listing"}
