"""Containers with random damage: a listing that accounts for what it saw, or an error in words; nothing else, nor any crash in reading."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from extractor.content import locate, read_content
from extractor.sources import list_corpus
from storage.errors import PermafrostError
from tests.extractor.containers import write_parquet, write_tar, write_tfrecord

IMAGES = [random.Random(i).randbytes(60) for i in range(6)]
WRITERS: dict[str, Callable[[Path], Path]] = {
    "a.tar": lambda path: write_tar(
        path, {f"{'deep/' * 30}{i}.{end}": b for i, b in enumerate(IMAGES) for end, b in (("jpg", b), ("cls", b"x"))}
    ),
    "a.parquet": lambda path: write_parquet(path, IMAGES, 2, label=list("abcdef"), split=["train"] * 6),
    "a.tfrecord": lambda path: write_tfrecord(path, [{"image/encoded": b, "image/class/label": 3, "image/filename": b"f"} for b in IMAGES]),
}


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
