"""Extractions with views: what stands in the shards, whoever embeds it and however often it is cut short."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

import storage
from extractor import ExtractOptions, ExtractResult, Progress, backbones, extract, image_policy
from extractor.engine import OutOfMemoryError
from extractor.golden_images import draw_golden_images
from extractor.network import Network
from storage.errors import SpaceMismatchError
from storage.golden import cosines
from storage.shard import SHARD_FORMATS
from storage.space import FIXED_VIEWS, PLAIN_VIEWS
from tests.extractor.conftest import SMALL
from tests.extractor.warm import WORKERS, keep_workers_warm

pytestmark = pytest.mark.slow

PLAIN = SMALL
VIEWED = replace(PLAIN, views=("flip", "crop", "flip-crop"), view_seed=7)
V = 4

MakeCorpus = Callable[..., Path]
Run = Callable[..., ExtractResult]
Contents = dict[str, tuple[bytes, npt.NDArray[np.generic]]]


@pytest.fixture(autouse=True)
def warm_local_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_workers_warm(monkeypatch)
    monkeypatch.setattr("extractor.plan.MIN_UNIT_ITEMS", 4)
    monkeypatch.setattr("extractor.plan.UNITS_AIMED_AT", 10**6)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """run(corpus, set="photos", store="features", **options): a local extraction with views, in units of four images."""

    def go(
        corpus: Path,
        name: str = "photos",
        store: str = "features",
        on_progress: Callable[[Progress], None] = lambda _: None,
        **options: Any,
    ) -> ExtractResult:
        chosen = replace(ExtractOptions(VIEWED, local=True), **options)
        return extract(corpus, f"{tmp_path}/{store}/team/{name}", chosen, on_progress)

    return go


def contents(result: ExtractResult) -> Contents:
    """key -> (digest, embeddings [V, D])."""
    feature_set = storage.open(result.set)
    keys, embeddings = feature_set.to_numpy(view=None)
    return {key: (d, e) for key, d, e in zip(keys, feature_set.items["digest"].to_pylist(), embeddings, strict=True)}


def network() -> Network:
    """That of the worker that the last run has left warm."""
    [built] = WORKERS[(VIEWED,)][0]._networks
    return built


def assert_same(a: Contents, b: Contents) -> None:
    """Equal keys and digests, and every view within the tolerance."""
    assert {key: digest for key, (digest, _) in a.items()} == {key: digest for key, (digest, _) in b.items()}
    for key, (_, embeddings) in a.items():
        assert cosines(embeddings, b[key][1]).min() >= 0.99999


@pytest.mark.parametrize("shard_format", SHARD_FORMATS)
def test_the_views_of_an_image_stand_together_in_one_shard(run: Run, make_corpus: MakeCorpus, shard_format: str) -> None:
    result = run(make_corpus(7), format=shard_format)
    assert (result.listed, result.rows, result.read, result.embedded, result.reused, result.views) == (7, 7, 7, 7, 0, V)
    feature_set = storage.open(result.set)
    assert (feature_set.rows, feature_set.manifest.counts["embeddings"]) == (7, 7 * V)
    assert feature_set.views == ("plain", "flip", "crop:0.35-1:0.75-1.33333", "flip-crop:0.35-1:0.75-1.33333")
    assert feature_set.space.view_seed == 7
    for shard in feature_set.manifest.shards:
        with closing(SHARD_FORMATS[shard_format].reader(feature_set.name.folder / shard.path)) as reader:
            assert reader.views().tolist() == list(range(V)) * (reader.rows // V)
            digests = reader.digests()
            assert all(len(set(digests[row : row + V])) == 1 for row in range(0, reader.rows, V))
            for digest, name, row in zip(*(feature_set.items[column].to_pylist() for column in ("digest", "shard", "row")), strict=True):
                assert name != shard.sha256 or digests[row] == digest
    assert feature_set.golden().views == V
    assert len(feature_set.golden().images) == len(draw_golden_images())


def test_each_view_is_the_network_on_its_pixels(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(9)
    found = contents(run(corpus))
    engine = network().engine
    for key, (_, embeddings) in found.items():
        if key.endswith(".png"):  # of these there is one decoder
            pixels = image_policy.decode((corpus / key).read_bytes(), 32, views=VIEWED.view_policy)
            assert cosines(embeddings, engine(tf.constant(pixels))).min() >= 0.99999
            assert len({row.tobytes() for row in embeddings}) == V


def test_view_0_has_the_features_of_a_set_without_views(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(9)
    with_views, plain = contents(run(corpus)), contents(run(corpus, store="plain", recipe=PLAIN))
    assert_same({key: (digest, embeddings[:1]) for key, (digest, embeddings) in with_views.items()}, plain)


def test_a_second_run_embeds_nothing_and_copies_are_hits(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(5)
    before = contents(run(corpus))
    (corpus / "ant" / "copy.jpg").write_bytes((corpus / "ant" / "0001.jpg").read_bytes())
    again = run(corpus)
    assert (again.read, again.embedded, again.rows) == (1, 0, 6)
    after = contents(again)
    np.testing.assert_array_equal(after["ant/copy.jpg"][1], before["ant/0001.jpg"][1])


def test_a_set_with_views_is_not_extended_without_them(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(2)
    run(corpus)
    with pytest.raises(SpaceMismatchError, match="they differ in views, view_seed"):
        run(corpus, recipe=PLAIN)


@pytest.mark.slow
def test_views_and_the_seed_of_crops_are_in_the_space_and_nothing_else_is_where_there_are_none() -> None:
    plain, flipped, viewed = (backbones.build(recipe).space for recipe in (PLAIN, replace(PLAIN, views=("flip",)), VIEWED))
    assert (plain.views, plain.view_seed) == (PLAIN_VIEWS, None)
    assert (set(flipped.views), flipped.view_seed) == (FIXED_VIEWS, None)
    assert (len(viewed.views), viewed.view_seed) == (V, 7)
    assert plain == flipped.plain == viewed.plain
    assert len({plain.id, flipped.id, viewed.id}) == 3


@pytest.mark.slow
def test_the_same_views_whoever_embeds_them(run: Run, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(18)
    one = contents(run(corpus, store="one"))
    assert_same(one, contents(run(corpus, store="two", workers=2)))
    monkeypatch.setattr("extractor.plan.MIN_UNIT_ITEMS", 7)
    assert_same(one, contents(run(corpus, store="borders")))


@pytest.mark.full
def test_the_same_views_by_ray(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(18)
    assert_same(contents(run(corpus, store="one")), contents(run(corpus, store="ray", local=False, workers=1)))


@pytest.mark.slow
def test_a_run_cut_short_goes_on_with_whole_images(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(20)
    undisturbed = contents(run(corpus, store="undisturbed"))

    def cut(progress: Progress) -> None:
        if progress.done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(corpus, on_progress=cut)
    result = run(corpus)
    assert result.embedded <= 12
    assert_same(contents(result), undisturbed)


def test_views_are_lent_to_the_same_space_together_and_to_a_plain_set_its_own(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(6)
    first = contents(run(corpus, "viewed"))
    same = run(corpus, "same", format="hdf5")
    assert (same.embedded, same.copied, same.rows) == (0, 6, 6)
    assert all((contents(same)[key][1] == embeddings).all() for key, (_, embeddings) in first.items())
    plain = run(corpus, "plain", recipe=PLAIN)
    assert (plain.embedded, plain.copied, plain.rows) == (0, 6, 6)
    assert all((contents(plain)[key][1] == embeddings[:1]).all() for key, (_, embeddings) in first.items())


def test_a_plain_set_lends_nothing_to_one_with_views(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(3)
    run(corpus, "plain", recipe=PLAIN)
    result = run(corpus, "viewed")
    assert (result.embedded, result.copied, contents(result)["ant/0001.jpg"][1].shape) == (3, 0, (V, 256))


class Overflowing:
    """The real engine, but infinite for view 2 of the second image of a batch."""

    def __init__(self, engine: Any) -> None:
        self.batch_size = engine.batch_size
        self._engine = engine

    def embed(self, images: Any) -> Any:
        embeddings = np.array(self._engine(images))
        embeddings[V + 2] = np.inf
        return [embeddings]


def test_an_image_with_one_view_that_cannot_be_stored_is_a_reject_as_a_whole(
    run: Run, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus(3)
    whole = contents(run(corpus, store="whole"))
    monkeypatch.setattr("extractor.refusals.MAX_UNSTORABLE", 0.5)
    worker, built = WORKERS[(VIEWED,)][0], network()
    check = worker.check
    monkeypatch.setattr(worker, "check", lambda job: (check(job), monkeypatch.setattr(built, "engine", Overflowing(built.engine))))
    result = run(corpus)
    assert (result.rows, result.rejected, result.embedded, result.reasons) == (2, 1, 3, {"non-finite": 1})
    assert storage.open(result.set).manifest.counts["embeddings"] == 2 * V
    for key, (_, embeddings) in contents(result).items():
        np.testing.assert_allclose(embeddings, whole[key][1], rtol=1e-4)


class Small:
    """The real engine on a device that holds the views of one image at a time."""

    def __init__(self, engine: Any) -> None:
        self.batch_size = engine.batch_size
        self._engine = engine

    def embed(self, images: Any) -> Any:
        if len(images) > V:
            raise OutOfMemoryError("out of memory")
        return self._engine.embed(images)


def test_where_memory_is_short_images_keep_their_views(run: Run, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(3)
    whole = contents(run(corpus))
    monkeypatch.setattr(network(), "engine", Small(network().engine))
    assert_same(contents(run(corpus, store="small")), whole)
