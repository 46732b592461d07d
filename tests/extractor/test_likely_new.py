"""What a run is told to expect before it measures anything: forward passes, not files."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extractor import ExtractOptions, ExtractResult, extract
from extractor.corpus import Item
from extractor.engine_choice import AS_USUAL
from extractor.executor import Executor
from extractor.job import WorkerInfo
from extractor.likely_new import likely_new
from extractor.limits import DEFAULT_LIMITS
from extractor.options import Also
from extractor.set_run import SetRun
from tests.extractor.conftest import SMALL
from tests.extractor.listings import items_of
from tests.extractor.warm import keep_workers_warm

pytestmark = pytest.mark.slow

IMAGES = 60  # a sample of 3
MakeCorpus = Callable[..., Path]


@pytest.fixture
def expected(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images that one worker was said to embed, of each run that was to choose an engine."""
    keep_workers_warm(monkeypatch)
    told: list[int] = []

    def note(executor: Executor, sets: Sequence[SetRun], images: int) -> list[WorkerInfo]:
        told.append(images)
        return executor.use_engine(AS_USUAL)

    monkeypatch.setattr("extractor.run.choose_engine", note)
    return told


def run(corpus: Path, uri: Path, **options: Any) -> ExtractResult:
    return extract(corpus, uri, replace(ExtractOptions(SMALL, local=True, engine="auto"), **options))


def touch(corpus: Path) -> None:
    for path in corpus.rglob("*.*"):
        os.utime(path, (1, 1))


def test_files_with_another_stamp_and_copies_and_what_others_lend_need_no_forward_pass(
    expected: list[int], make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    corpus, team = make_corpus(IMAGES), tmp_path / "features" / "team"
    assert run(corpus, team / "photos").embedded == IMAGES
    touch(corpus)
    assert run(corpus, team / "photos").embedded == 0
    shutil.copytree(corpus, tmp_path / "moved", copy_function=shutil.copyfile)
    assert run(tmp_path / "moved", team / "photos", add=True).embedded == 0
    assert run(corpus, team / "others").copied == IMAGES
    run(tmp_path / "moved", tmp_path / "elsewhere" / "team" / "photos", reuse_from=(str(team.parent),), dry_run=True)
    assert expected == [IMAGES, 0, 0, 0, 0]


def test_new_files_between_known_ones_are_foreseen(tmp_path: Path) -> None:
    """Their names alternate: every 20th of 1,280 was a known one, so that none was foreseen."""
    for number in range(1280):
        (tmp_path / f"{number:04d}.jpg").write_bytes(b"%d" % number)
    known = {hashlib.sha256(b"%d" % number).digest() for number in range(0, 1280, 2)}
    files = items_of([Item(f"{number:04d}.jpg", "") for number in range(1280)])
    found = likely_new(files, tmp_path, [lambda digests: np.array([each in known for each in digests])], DEFAULT_LIMITS)
    assert 0.3 < found / len(files) < 0.7


def test_what_one_of_several_sets_lacks_needs_one(expected: list[int], make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus, team = make_corpus(IMAGES), tmp_path / "features" / "team"
    run(corpus, team / "photos")
    touch(corpus)
    run(corpus, team / "photos", also=(Also(f"{team}/maps", replace(SMALL, pooling="none"), None),))
    assert expected == [IMAGES, IMAGES]


def test_the_precision_is_weighed_for_images_to_embed(expected: list[int], make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus, uri = make_corpus(IMAGES), tmp_path / "features" / "team" / "photos"
    recipe = replace(SMALL, precision="bfloat16")
    assert f"about {IMAGES} images to embed" in run(corpus, uri, recipe=recipe).precision["left_out"]
    touch(corpus)
    assert "about 0 images to embed" in run(corpus, uri, recipe=recipe).precision["left_out"]
