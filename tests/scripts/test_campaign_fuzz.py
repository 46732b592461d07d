"""The campaign of damaged files, short; `python -m scripts.campaign_fuzz` is the full one, and docs/reliability.md keeps its last run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from extractor.limits import UndecodableError
from scripts import bombs
from scripts.campaign_fuzz import Outcome, good_images, memory_bound, mutated, one, seed_images, write_corpora, wrong_with
from tests.extractor.plain import decode

BOMBS = ("gif-frames-that-only-one-reads.gif", "png-texts.png", "jpeg-scans.jpg", "ico-hides-a-large-png.ico")


@pytest.mark.slow
def test_damaged_files_vanish_no_more_than_they_harm_their_neighbours(tmp_path: Path) -> None:
    seeds = seed_images()
    files = dict(mutated(number, 3, seeds) for number in range(60))
    files |= {name: bombs.BOMBS[name]() for name in BOMBS}
    outcome = one("short", files, tmp_path / "corpora")
    assert outcome.problems == []
    assert outcome.rows + sum(outcome.reasons.values()) == outcome.files == 64
    assert {"corrupt", "not-an-image", "too-large"} <= outcome.reasons.keys()
    # The same version again, with something wrong about it.
    neighbours = {key: key.rpartition("-good.")[2] for key in (path.name for path in (tmp_path / "corpora" / "mixed").glob("*-good.*"))}
    assert len(neighbours) == 13
    told = Outcome("short", 64, peak_mib=memory_bound() + 1)
    problems = wrong_with(tmp_path / "corpora", {*files, "lost.png"}, {**neighbours, "harmed.png": "00.jpeg"}, told)
    assert problems[0].startswith("2 files are neither row nor reject")
    assert problems[1] == "1 good neighbours have no row, such as harmed.png"
    swapped = dict.fromkeys(neighbours, "01.png")
    assert wrong_with(tmp_path / "corpora", set(files), swapped, told) == [
        "good neighbours have other embeddings than alone",
        f"{memory_bound() + 1} MiB, the bound is {memory_bound()}",
    ]
    shutil.rmtree(tmp_path / "corpora")


def test_seeds_are_images_and_mutations_can_be_drawn_again() -> None:
    seeds = seed_images()
    for name, data in seeds.items():
        assert decode(data, 32).shape == (32, 32, 3), name
    files = [mutated(number, 0, seeds) for number in range(60)]
    assert files == [mutated(number, 0, seeds) for number in range(60)]
    assert files != [mutated(number, 1, seeds) for number in range(60)]
    assert sum(data in seeds.values() for _, data in files) < 6
    readable = 0
    for _, data in files:
        try:
            decode(data, 32)
            readable += 1
        except UndecodableError:
            pass
    assert 10 < readable < 50


def test_every_fifth_file_has_a_good_neighbour(tmp_path: Path) -> None:
    neighbours = write_corpora({f"{i:02d}.png": b"" for i in range(11)}, tmp_path)
    assert sorted(neighbours) == ["00.png-good.00.jpeg", "05.png-good.01.png", "10.png-good.02.webp"]
    assert (tmp_path / "mixed" / "05.png-good.01.png").read_bytes() == (tmp_path / "alone" / "01.png").read_bytes()
    assert {path.name for path in (tmp_path / "alone").iterdir()} == good_images().keys()
