"""Several feature sets from one reading: each is what it would be alone, and files are read and decoded once."""

from __future__ import annotations

import copy
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import storage
from extractor import Also, ExtractOptions, ExtractResult, Progress, Recipe, extract
from extractor.job import Job
from extractor.limits import Limits
from extractor.network import build_networks
from extractor.rounds import Rounds
from extractor.unit_queue import LostUnit
from storage.errors import ConflictError, DiskFullError, RunError, SpaceMismatchError, UnstorableError, UsageError
from storage.names import parse_set
from storage.run_watch import run_statuses
from storage.verify import verify_set
from tests.conftest import draw
from tests.extractor.conftest import SMALL
from tests.extractor.marked import RAISE, breaking_decoder, mark
from tests.extractor.warm import keep_workers_warm

LAST = SMALL
MIDDLE = replace(LAST, layer="conv_pw_3_relu")
MAPS = replace(MIDDLE, pooling="none")
OTHER = replace(LAST, weights="random:2", input_size=48, preprocessing="torch")
ALSO = {"middle": MIDDLE, "maps": MAPS, "other": OTHER}

MakeCorpus = Callable[..., Path]

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def warm_local_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_workers_warm(monkeypatch)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Locations of the images that are read, one entry each time."""
    import extractor.pipeline

    read: list[str] = []
    plain = extractor.pipeline.read_content

    def noted(location: str, max_bytes: int) -> object:
        if "photos" in location:  # golden images are read, too
            read.append(location)
        return plain(location, max_bytes)

    monkeypatch.setattr("extractor.pipeline.read_content", noted)
    return read


def options(names: list[str], store: Path, **others: object) -> ExtractOptions:
    also = tuple(Also(f"{store}/team/{name}", ALSO[name]) for name in names)
    return replace(ExtractOptions(LAST, local=True), also=also, **others)  # type: ignore[arg-type]


def run(
    corpus: Path, store: Path, names: list[str], on_progress: Callable[[Progress], None] = lambda _: None, **others: object
) -> ExtractResult:
    return extract(corpus, f"{store}/team/last", options(names, store, **others), on_progress)


def alone(corpus: Path, store: Path, recipe: Recipe) -> storage.FeatureSet:
    return storage.open(extract(corpus, f"{store}/team/set", ExtractOptions(recipe, local=True)).set)


def features(feature_set: storage.FeatureSet) -> tuple[list[str], npt.NDArray[np.float32]]:
    keys, embeddings = feature_set.to_numpy()
    return keys, embeddings.astype(np.float32).reshape(len(keys), -1)


def assert_same_features(one: storage.FeatureSet, other: storage.FeatureSet) -> None:
    assert one.space == other.space
    assert one.items.select(["key", "digest", "label"]).equals(other.items.select(["key", "digest", "label"]))
    (_, x), (_, y) = features(one), features(other)
    assert ((x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).min() >= 0.99999


def test_each_set_is_what_it_would_be_alone_and_files_are_read_once(make_corpus: MakeCorpus, tmp_path: Path, decoded: list[str]) -> None:
    corpus = make_corpus(21)
    (corpus / "ant" / "broken.jpg").write_bytes(b"\xff\xd8 broken")
    result = run(corpus, tmp_path / "together", list(ALSO))
    assert len(decoded) == len(set(decoded)) + 1  # the broken one once more, to learn why
    assert [(each.read, each.embedded, each.rows, each.rejected) for each in result.all_sets] == [(22, 21, 21, 1), *[(0, 21, 21, 1)] * 3]
    assert all((each.pending, each.listed) == (0, 22) for each in result.all_sets)
    for number, (each, recipe) in enumerate(zip(result.all_sets, [LAST, *ALSO.values()], strict=True)):
        assert_same_features(storage.open(each.set), alone(corpus, tmp_path / f"alone-{number}", recipe))
    decoded.clear()
    again = run(corpus, tmp_path / "together", list(ALSO))
    assert (decoded, [each.committed for each in again.all_sets]) == ([], [False] * 4)


def test_cuts_of_one_network_share_a_forward_pass() -> None:
    assert [[output.number for output in network.outputs] for network in build_networks([LAST, OTHER, MIDDLE, MAPS])] == [[0, 2, 3], [1]]


def test_a_set_that_comes_later_reads_for_itself_alone_and_what_that_saves_is_told_where_a_run_has_measured_it(
    make_corpus: MakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extractor.forecast.MIN_IMAGES", 5)
    corpus = make_corpus(12)
    first = run(corpus, tmp_path, [])
    (corpus / "ant" / "new.png").write_bytes(draw(99))
    both = run(corpus, tmp_path, ["other"])
    assert [(each.read, each.embedded, each.rows) for each in both.all_sets] == [(13, 1, 13), (0, 13, 13)]
    assert both.version == (first.version or 0) + 1
    assert both.saved_seconds == pytest.approx(12 / first.images_per_second, abs=0.1)
    assert (both.also[0].reused, both.also[0].saved_seconds) == (0, None)


def test_what_another_set_holds_is_lent_to_each(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(9)
    extract(corpus, f"{tmp_path}/theirs/maps", ExtractOptions(MAPS, local=True))
    result = run(corpus, tmp_path, ["middle", "maps"])  # pooled features follow from the maps
    assert [(each.embedded, each.copied) for each in result.all_sets] == [(9, 0), (0, 9), (0, 9)]


def test_another_run_that_commits_one_of_the_sets_first_does_no_harm(
    make_corpus: MakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus(6)
    work = Rounds.work

    def let_another_in(rounds: Rounds, job: Job) -> list[LostUnit]:
        monkeypatch.undo()
        run(corpus, tmp_path, [])
        return work(rounds, job)

    monkeypatch.setattr(Rounds, "work", let_another_in)
    result = run(corpus, tmp_path, ["other"])  # which has no version when the first set's commit meets the other run's
    assert [(each.rows, each.pending, each.version) for each in result.all_sets] == [(6, 0, 1), (6, 0, 1)]
    assert [each.committed for each in result.all_sets] == [False, True]


def test_a_run_cut_short_is_resumed_in_all_its_sets(make_corpus: MakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.plan.MIN_UNIT_ITEMS", 4)
    monkeypatch.setattr("extractor.plan.UNITS_AIMED_AT", 10**6)

    def cut(progress: Progress) -> None:
        if progress.done >= 8:
            raise KeyboardInterrupt

    corpus = make_corpus(16)
    with pytest.raises(KeyboardInterrupt):
        run(corpus, tmp_path, ["other"], cut)
    assert {status.state for name in ("last", "other") for status in run_statuses(parse_set(f"{tmp_path}/team/{name}"))} == {"interrupted"}
    rest = run(corpus, tmp_path, ["other"])
    # A unit may have been cut between the receipts of its sets: then the second one has less left to read.
    assert all(each.embedded == each.to_read <= rest.read <= 8 and each.rows == 16 for each in rest.all_sets)


def test_a_full_disk_is_that_of_the_set_that_found_no_room_and_all_sets_say_so(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    """The limit on file sizes is the border of the disk, which only the maps reach."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = Also(f"{tmp_path}/elsewhere/team/maps", replace(MAPS, layer="conv_pw_1_relu"))  # 16 KiB an image

    def limit(progress: Progress) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))

    corpus, wanted = make_corpus(12), replace(options([], tmp_path), also=(large,))
    try:
        with pytest.raises(DiskFullError, match=rf"no room is left to write in {large.set} .*0 of 12 images to read were finished"):
            extract(corpus, f"{tmp_path}/here/team/last", wanted, limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]
    for name in (f"{tmp_path}/here/team/last", large.set):
        [status] = run_statuses(parse_set(name))
        assert (status.state, status.total) == ("failed", 12)
        assert f"no room is left to write in {large.set} " in status.message
    assert [each.rows for each in extract(corpus, f"{tmp_path}/here/team/last", wanted).all_sets] == [12, 12]


def test_an_image_that_breaks_the_worker_is_a_reject_in_each_set(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(8)
    mark(corpus / "ant" / "0002.png", RAISE)
    with breaking_decoder():
        result = run(corpus, tmp_path, ["other"])
    assert [(each.rows, each.reasons) for each in result.all_sets] == [(7, {"fatal": 1})] * 2


def test_what_a_set_keeps_as_a_reject_is_embedded_for_others_alone(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus, store = make_corpus(6), tmp_path / "store"
    (corpus / "ant" / "large.png").write_bytes(draw(99, size=60))
    first = run(corpus, store, [], limits=Limits(pixels=2_000))
    assert (first.rows, first.rejected) == (6, 1)
    both = run(corpus, store, ["middle"])
    assert [(each.rows, each.rejected, each.embedded, each.reused) for each in both.all_sets] == [(6, 1, 0, 6), (7, 0, 7, 0)]
    for each in both.all_sets:
        assert verify_set(parse_set(each.set), full=True).findings == ()


def test_a_dry_run_tells_of_each_set_and_writes_nothing(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    result = run(make_corpus(6), tmp_path / "store", ["maps"], dry_run=True)
    assert [(each.to_read, each.forecast["images"], each.files) for each in result.all_sets] == [(6, 6, 6), (6, 6, 0)]
    assert not (tmp_path / "store").exists()


def test_what_sets_share_is_foreseen_once_and_adds_up(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(6)
    size = sum(path.stat().st_size for path in corpus.rglob("*.*g"))
    run(corpus, tmp_path, [])
    (corpus / "ant" / "new.png").write_bytes(new := draw(99))
    for how in ({}, {"rehash": True}):
        result = run(corpus, tmp_path, ["maps"], dry_run=True, price=1e6, **how)
        first, maps = (each.forecast for each in result.all_sets)
        assert (result.files, first["bytes_to_read"], maps["bytes_to_read"]) == (7, size + len(new), 0)
        assert (first["images"], maps["images"]) == (1, 7)
        assert first["seconds"] == pytest.approx(7 / first["images_per_second"], abs=0.1)  # not only for the one of the first set
        assert first["price"] == pytest.approx(first["seconds"] / 3600 * 1e6, abs=15)  # seconds are rounded
        assert (maps["seconds"], maps["price"]) == (0.0, 0.0)
    done = run(corpus, tmp_path, ["maps"], price=1e6)
    assert [(each.files, each.read, each.cost is None) for each in done.all_sets] == [(7, 7, False), (0, 0, True)]
    assert [sum(each.kinds.values()) for each in done.all_sets] == [1, 7]


def test_wrong_further_sets_are_refused(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(3)
    with pytest.raises(UsageError, match="named twice"):
        extract(corpus, f"{tmp_path}/team/maps", options(["maps"], tmp_path))
    with pytest.raises(UsageError, match="leave out '@1'"):
        extract(corpus, f"{tmp_path}/team/last", replace(options([], tmp_path), also=(Also(f"{tmp_path}/team/maps@1", MAPS),)))
    with pytest.raises(UsageError, match="unknown shard format"):
        Also("a/b/c", MAPS, "csv")
    extract(corpus, f"{tmp_path}/team/maps", ExtractOptions(MIDDLE, local=True))
    with pytest.raises(SpaceMismatchError, match="pooling"):
        run(corpus, tmp_path, ["maps"])
    assert not (tmp_path / "team" / "last").exists()
    other = make_corpus(3, name="other")
    run(other, tmp_path, [])
    with pytest.raises(ConflictError, match="--add"):
        run(corpus, tmp_path, [])


def test_features_that_cannot_be_stored_name_no_other_set(make_corpus: MakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those images are rejects of that set alone."""
    import extractor.network

    plain = extractor.network.to_stored

    def failing(features: npt.NDArray[np.float32], dtype: str) -> object:
        stored, faults = plain(features, dtype)
        return stored, {**faults, 0: ("non-finite", "made up")} if features.ndim == 4 and len(features) == 10 else faults

    monkeypatch.setattr("extractor.network.to_stored", failing)
    monkeypatch.setattr("extractor.refusals.MAX_UNSTORABLE", 1.0)
    result = run(make_corpus(10), tmp_path, ["maps"])
    assert [(each.rows, each.rejected) for each in result.all_sets] == [(10, 0), (9, 1)]


def test_a_set_that_float16_cannot_hold_is_named(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus, small = make_corpus(3), Also(f"{tmp_path}/team/small", replace(LAST, dtype="float16"))
    with pytest.raises(UnstorableError, match=rf"{small.set}: 4 of 4 known .*\(name dtype=float32 in its --also\)"):
        extract(corpus, f"{tmp_path}/team/last", replace(options([], tmp_path), also=(small,)))
    assert copy.copy(UnstorableError("words", 2)).number == 2  # as pickle does it on the way from a Ray worker


@pytest.mark.full
@pytest.mark.slow
def test_workers_on_ray_make_several_sets(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(12)
    together = run(corpus, tmp_path / "ray", ["maps", "other"], local=False, workers=1)
    assert [each.embedded for each in together.all_sets] == [12, 12, 12]
    assert_same_features(storage.open(together.also[1].set), alone(corpus, tmp_path / "alone", OTHER))


def test_a_run_without_any_finished_unit_commits_nothing(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(2)
    for path in corpus.rglob("*.*"):
        mark(path, RAISE)
    with breaking_decoder(), pytest.raises(RunError):
        run(corpus, tmp_path, ["other"])


def test_further_sets_say_why_their_precision_was_not_weighed(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    asked = options(["maps"], tmp_path)
    result = extract(make_corpus(4), f"{tmp_path}/team/last", replace(asked, recipe=replace(LAST, precision="bfloat16")))
    assert "too few" in result.precision["left_out"]
    assert "for the first of its sets alone" in result.also[0].precision["left_out"]
