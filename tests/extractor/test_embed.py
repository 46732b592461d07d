from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extractor import embed
from extractor.embed import embed_images
from extractor.worker import Worker
from storage.errors import SpaceMismatchError
from tests.extractor.conftest import SMALL_START
from tests.extractor.plain import decode

RECIPE = SMALL_START


@pytest.mark.slow
def test_batches_hold_every_image_once_with_one_network(make_corpus: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(8)
    (corpus / "broken.jpg").write_bytes(b"no image")
    paths = sorted(map(str, corpus.rglob("*.*")))
    worker = Worker((RECIPE,))
    expected, outcomes = worker.embed_located(paths)
    monkeypatch.setattr(embed, "Worker", lambda recipe, threads, engine: worker)
    for size in (4, 100):
        monkeypatch.setattr(embed, "BATCH_IMAGES", size)
        batches = list(embed_images(paths, RECIPE, worker.info().space, "the head"))
        positions = [i for batch in batches for i in batch.positions]
        assert len(batches) == -(-len(paths) // size)
        assert [i for i in range(len(paths)) if i not in outcomes.rejects] == positions
        assert {i: fault for batch in batches for i, fault in batch.rejects.items()} == outcomes.rejects
        np.testing.assert_allclose(np.concatenate([batch.embeddings for batch in batches]), expected[positions], rtol=1e-3, atol=1e-12)
    assert list(embed_images([], RECIPE, worker.info().space, "the head")) == []
    monkeypatch.setattr(embed, "BATCH_BYTES", 3 * 32 * 4)
    assert [len(batch.positions) + len(batch.rejects) for batch in embed_images(paths, RECIPE, worker.info().space, "the head")] == [
        3,
        3,
        3,
    ]
    with pytest.raises(SpaceMismatchError, match="Pass --weights FILE"):  # before any image is asked for
        embed_images(["nowhere.jpg"], RECIPE, replace(worker.info().space, weights="0" * 64), "the head")


@pytest.mark.slow
def test_a_worker_decodes_by_the_policy_of_its_recipe(
    tmp_path: Path, photo: Callable[..., np.ndarray], encode: Callable[..., bytes]
) -> None:
    worker = Worker([replace(RECIPE, image_policy="keras-v1")])
    encoded = encode(photo(300, 300, noise=60), "JPEG")
    images = [encoded, *(encode(decode(encoded, 32, policy), "PNG") for policy in ("keras-v1", "image-v1"))]  # no policy resizes 32 x 32
    [[by_worker, by_keras_v1, by_image_v1]] = worker.embed_images(images)
    assert worker.info().space.image_policy == "keras-v1"
    np.testing.assert_allclose(by_worker, by_keras_v1, rtol=1e-3, atol=1e-12)
    assert np.abs(by_worker - by_image_v1).max() > 0.01 * np.abs(by_worker).max()
