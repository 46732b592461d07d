"""One extraction after another on one set: what is read, what is embedded, what a version then holds."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import storage
from extractor import ExtractOptions, ExtractResult, Progress, extract
from extractor.claims import Claim
from extractor.job import Job, WorkerInfo
from extractor.limits import Limits
from extractor.local_executor import LocalExecutor
from extractor.plan import Unit
from extractor.receipt import Receipt
from extractor.rounds import Rounds
from extractor.stages import STAGES
from extractor.unit_queue import LostUnit
from extractor.worker import Worker
from storage.begun import begun_golden
from storage.compact import compact_set
from storage.errors import (
    ConflictError,
    DiskFullError,
    DriftError,
    NotFoundError,
    RunCancelledError,
    RunError,
    SpaceMismatchError,
    UsageError,
)
from storage.golden import GoldenImages, write_golden
from storage.names import parse_set
from storage.repair import repair_set
from storage.run_watch import cancel_run, run_statuses
from storage.runs import unfinished_runs
from storage.sealed import read_sealed, seal
from storage.shard import SHARD_FORMATS
from tests.conftest import draw
from tests.extractor.conftest import SMALL
from tests.extractor.marked import RAISE, breaking_decoder, mark
from tests.extractor.warm import WORKERS, WarmWorker, keep_workers_warm

pytestmark = pytest.mark.slow

RECIPE = SMALL
LOCAL = ExtractOptions(RECIPE, local=True)

MakeCorpus = Callable[..., Path]
Run = Callable[..., ExtractResult]


@pytest.fixture(autouse=True)
def warm_local_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_workers_warm(monkeypatch)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """run(corpus, set="photos", store="features", **options): a local extraction. Sets of one store lend each other embeddings."""

    def go(
        corpus: Path,
        name: str = "photos",
        on_progress: Callable[[Progress], None] = lambda _: None,
        store: str = "features",
        **options: Any,
    ) -> ExtractResult:
        return extract(corpus, f"{tmp_path}/{store}/team/{name}", replace(LOCAL, **options), on_progress)

    return go


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.plan.MIN_UNIT_ITEMS", 4)
    monkeypatch.setattr("extractor.plan.UNITS_AIMED_AT", 10**6)


def account(result: ExtractResult) -> tuple[int, int, int, int, int, int]:
    assert result.listed == result.rows + result.rejected + result.pending
    return result.read, result.embedded, result.reused, result.rows, result.rejected, result.pending


def contents(result: ExtractResult) -> dict[str, tuple[str | None, bytes, bytes]]:
    """key -> (label, digest, embedding) of a version."""
    feature_set = storage.open(result.set)
    keys, embeddings = feature_set.to_numpy()
    labels, digests = feature_set.items["label"].to_pylist(), feature_set.items["digest"].to_pylist()
    return {k: (lab, d, e.tobytes()) for k, lab, d, e in zip(keys, labels, digests, embeddings, strict=True)}


def cut_after(done: int) -> Callable[[Progress], None]:
    """Interrupts a run once so many items are done."""

    def cut(progress: Progress) -> None:
        if progress.done >= done:
            raise KeyboardInterrupt

    return cut


def test_a_first_run_embeds_every_image(run: Run, make_corpus: MakeCorpus) -> None:
    result = run(make_corpus(7))
    assert account(result) == (7, 7, 0, 7, 0, 0)
    assert (result.version, result.committed, result.complete, result.shards) == (1, True, True, 1)
    assert {key: label for key, (label, _, _) in contents(result).items()}["ant/0001.jpg"] == "ant"


def test_a_second_run_reads_nothing_and_makes_no_version(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(7)
    run(corpus)
    again = run(corpus)
    assert account(again) == (0, 0, 7, 7, 0, 0)
    assert (again.version, again.committed, again.shards) == (1, False, 0)
    assert again.report is not None
    assert "1, nothing changed" in Path(again.report).read_text()


def test_renamed_and_duplicate_images_are_hits(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(6)
    before = contents(run(corpus))
    (corpus / "ant" / "0001.jpg").rename(corpus / "ant" / "new name.jpg")
    shutil.copy(corpus / "bee" / "0000.png", corpus / "bee" / "copy.png")
    result = run(corpus)
    assert account(result) == (2, 0, 7, 7, 0, 0)
    after = contents(result)
    assert after["ant/new name.jpg"] == before["ant/0001.jpg"]
    assert after["bee/copy.png"] == before["bee/0000.png"]
    assert result.deleted == 1
    assert (result.kinds["renamed"], result.kinds["duplicate"], sum(result.kinds.values())) == (1, 1, 2)


def test_new_changed_and_deleted_images(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(6)
    run(corpus)
    (corpus / "bee" / "0000.png").unlink()
    (corpus / "ant" / "0001.jpg").write_bytes(draw(100, format_name="JPEG"))
    (corpus / "ant" / "new.png").write_bytes(draw(101))
    result = run(corpus)
    assert account(result) == (2, 2, 4, 6, 0, 0)
    assert (result.new, result.changed, result.deleted) == (1, 1, 1)
    assert len(storage.open(f"{result.set}@1").to_numpy()[0]) == 6  # the older version still reads


def test_what_an_older_version_held_is_not_embedded_again(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(4)
    run(corpus)
    image = corpus / "ant" / "0001.jpg"
    kept = image.read_bytes()
    image.unlink()
    run(corpus)
    image.write_bytes(kept)
    assert account(run(corpus)) == (1, 0, 4, 4, 0, 0)


def test_a_new_label_touches_no_embedding(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(6)
    first = run(corpus)
    (corpus / "ant").rename(corpus / "cat")
    second = run(corpus)
    assert (second.embedded, second.shards, second.version) == (0, 0, 2)
    assert {label for label, _, _ in contents(second).values()} == {"bee", "cat"}
    assert storage.open(first.set).manifest.shards == storage.open(f"{first.set}@1").manifest.shards


def test_rejects_are_counted_kept_and_not_read_again(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(5)
    (corpus / "ant" / "bad.jpg").write_bytes(b"no image at all")
    (corpus / "ant" / "empty.png").write_bytes(b"")
    result = run(corpus)
    assert account(result) == (7, 5, 0, 5, 2, 0)
    assert result.reasons == {"empty": 1, "not-an-image": 1}
    assert not result.complete
    assert account(run(corpus)) == (0, 0, 5, 5, 2, 0)
    rejects = storage.open(result.set).rejects.to_pylist()
    assert [(r["key"], r["reason"]) for r in rejects] == [("ant/bad.jpg", "not-an-image"), ("ant/empty.png", "empty")]


def test_rejects_are_read_again_where_asked_for(run: Run, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(3)
    Image.open(corpus / "ant" / "0001.jpg").save(corpus / "ant" / "new.jp2")
    (corpus / "ant" / "new.jp2").rename(corpus / "ant" / "new.jpg")
    (corpus / "ant" / "empty.png").write_bytes(b"")
    assert run(corpus).reasons == {"empty": 1, "unsupported": 1}
    assert account(run(corpus, retry_rejects=("corrupt",))) == (0, 0, 3, 3, 2, 0)
    again = run(corpus, retry_rejects=("empty", "unsupported"))
    assert account(again) == (2, 0, 3, 3, 2, 0)
    assert not again.committed
    monkeypatch.setattr("extractor.image_policy.FORMATS", ("JPEG", "PNG", "JPEG2000"))  # as if a later release read one more
    assert account(run(corpus, retry_rejects=("unsupported",))) == (1, 1, 3, 4, 1, 0)


def test_limits_make_rejects_that_a_later_run_may_take_back(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(4)
    sizes = sorted(path.stat().st_size for path in corpus.rglob("*.*g"))
    assert run(corpus, limits=Limits(pixels=1599)).reasons == {"too-large": 4}
    some = run(corpus, limits=Limits(bytes=sizes[1]), retry_rejects=("too-large",))
    assert some.reasons == {"too-large": 2}
    assert account(run(corpus)) == (0, 0, 2, 2, 2, 0)
    assert account(run(corpus, retry_rejects=("too-large",))) == (2, 2, 2, 4, 0, 0)


def test_a_mended_reject_becomes_a_row(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(3)
    (corpus / "ant" / "bad.jpg").write_bytes(b"no image at all")
    run(corpus)
    (corpus / "ant" / "bad.jpg").write_bytes(draw(50, format_name="JPEG"))
    assert account(run(corpus)) == (1, 1, 3, 4, 0, 0)


def test_duplicates_of_a_bad_image_are_all_rejects(run: Run, make_corpus: MakeCorpus, small_units: None) -> None:
    corpus = make_corpus(8)
    for name in ("a", "m", "z"):  # in different units
        (corpus / "ant" / f"{name}.jpg").write_bytes(b"\xff\xd8\xff not a photograph")
    result = run(corpus)
    assert account(result) == (11, 8, 0, 8, 3, 0)


def test_names_that_are_no_unicode_are_rejects_not_lost(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(3)
    Path(os.fsdecode(os.fsencode(corpus) + b"/ant/\xff.png")).write_bytes(draw(9))
    result = run(corpus)
    assert account(result) == (3, 3, 0, 3, 1, 0)
    assert result.reasons == {"bad-name": 1}


def test_a_run_cut_short_is_resumed_from_its_receipts(run: Run, make_corpus: MakeCorpus, small_units: None) -> None:
    corpus = make_corpus(20)
    undisturbed = contents(run(corpus, store="undisturbed"))
    with pytest.raises(KeyboardInterrupt):
        run(corpus, on_progress=cut_after(12))
    with pytest.raises(storage.NotFoundError, match="no committed version yet"):
        storage.open(str(Path(f"{corpus.parent}/features/team/photos")))
    result = run(corpus)
    assert result.read + 12 <= 20  # a unit that was under way may have finished behind the interrupt's back
    assert result.embedded == result.read
    assert result.rows == 20
    assert contents(result) == undisturbed


def test_a_run_that_died_before_the_first_version_is_not_resumed_by_another_engine(
    run: Run, make_corpus: MakeCorpus, tmp_path: Path, small_units: None
) -> None:
    """Its finished units hold features of that engine."""
    corpus = make_corpus(20)
    with pytest.raises(KeyboardInterrupt):
        run(corpus, on_progress=cut_after(12))
    folder = tmp_path / "features" / "team" / "photos"
    [golden] = begun_golden(parse_set(str(folder)))
    [path] = (folder / "golden").iterdir()
    path.unlink()
    write_golden(replace(golden, embeddings=np.roll(golden.embeddings, 7, axis=-1)), folder)
    with pytest.raises(DriftError, match=r"golden image '(small|large)\.(jpg|png)' with cosine"):
        run(corpus)


def test_a_set_that_was_only_begun_is_held_to_its_space_and_format(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(4)
    with pytest.raises(KeyboardInterrupt):
        run(corpus, on_progress=cut_after(0))
    with pytest.raises(SpaceMismatchError, match="weights"):
        run(corpus, dry_run=True, recipe=replace(RECIPE, weights="random:2"))
    with pytest.raises(UsageError, match="parquet, and stay so"):
        run(corpus, format="hdf5")
    assert account(run(corpus)) == (4, 4, 0, 4, 0, 0)


def test_a_lost_unit_leaves_its_items_pending_and_the_next_run_has_them(
    run: Run, make_corpus: MakeCorpus, tmp_path: Path, small_units: None
) -> None:
    corpus = make_corpus(8)
    run(corpus)
    for i in range(4):
        (corpus / "ant" / f"more-{i}.png").write_bytes(draw(200 + i))

    def get_in_the_way(progress: Progress) -> None:
        if progress.done == 0:
            [running] = unfinished_runs(parse_set(f"{tmp_path}/features/team/photos"))
            (running.path / "receipts").write_text("in the way: no unit can write its receipt")

    result = run(corpus, on_progress=get_in_the_way)
    assert account(result) == (0, 0, 8, 8, 0, 4)
    assert not result.complete
    assert [failure[:22] for failure in result.failures] == ["unit 000000 (4 items):"]
    assert account(run(corpus)) == (4, 4, 8, 12, 0, 0)


def test_a_run_in_which_no_unit_can_be_finished_commits_nothing(run: Run, make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(4)
    obstacle = tmp_path / "features" / "team" / "photos" / "shards"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("in the way: no unit can write its shard")
    with pytest.raises(RunError, match="The first one failed with: FileExistsError"):
        run(corpus)
    obstacle.unlink()
    assert run(corpus).version == 1


def test_a_twin_whose_first_copy_was_in_a_lost_unit_is_embedded_in_another_round(
    run: Run, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch, small_units: None
) -> None:
    corpus = make_corpus(8)
    twin = corpus / "zoo" / "twin.png"
    twin.parent.mkdir()
    shutil.copy(corpus / "ant" / "0001.jpg", twin)
    whole = Worker.run

    def fails_after_claiming(self: Worker, unit: Any, job: Any, claim: Any) -> Any:
        if unit.id == "000000":  # holds ant/0001.jpg
            claim([hashlib.sha256((job.base / item.key).read_bytes()).digest() for item in unit.items])
            raise OSError("this unit's disk is broken")
        return whole(self, unit, job, claim)

    monkeypatch.setattr(Worker, "run", fails_after_claiming)
    result = run(corpus)
    assert (result.rows, result.pending) == (5, 4)
    assert "zoo/twin.png" in contents(result)


@pytest.mark.full  # tests/scripts/test_first_light.py shows it with workers of both kinds
def test_the_same_version_with_one_worker_and_four(run: Run, make_corpus: MakeCorpus, small_units: None) -> None:
    corpus = make_corpus(30)
    one, four = contents(run(corpus, store="one", workers=1)), contents(run(corpus, store="four", workers=4))
    assert one == four


@pytest.mark.full  # tests/scripts/test_first_light.py shows it by command on real images
def test_the_same_version_local_and_ray(run: Run, make_corpus: MakeCorpus, small_units: None) -> None:
    corpus = make_corpus(30)
    local, by_ray = contents(run(corpus, store="local")), contents(run(corpus, store="ray", local=False, workers=2))
    assert local.keys() == by_ray.keys()
    for key, (label, digest, embedding) in local.items():
        assert by_ray[key][:2] == (label, digest)
        x, y = np.frombuffer(embedding, np.float32), np.frombuffer(by_ray[key][2], np.float32)
        assert x @ y / np.linalg.norm(x) / np.linalg.norm(y) >= 0.99999


def test_a_dry_run_writes_nothing(run: Run, make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(5)
    result = run(corpus, dry_run=True, price=2.0)
    assert (result.to_read, result.rows, result.version) == (5, 0, None)
    assert not (tmp_path / "features").exists()
    assert result.forecast["images"] == 5
    assert result.forecast["bytes_to_read"] == sum(path.stat().st_size for path in corpus.rglob("*.*"))
    assert (result.forecast["shards"], result.forecast["shard_bytes"]) == (1, 5 * 256 * 4)
    assert result.forecast["rate_source"] == "a try with 5 of the images"
    assert result.forecast["images_per_second"] > 0


def test_the_next_forecast_goes_by_the_rate_of_the_last_run(
    run: Run, make_corpus: MakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extractor.forecast.MIN_IMAGES", 5)
    first = run(make_corpus(5))
    plan = first.forecast
    assert (plan["images"], plan["shards"], plan["seconds"], plan["price"]) == (5, 1, None, None)
    assert (plan["images_per_second"], plan["rate_source"]) == (None, "no run has measured it")
    assert first.cost is None
    for i in range(3):
        (tmp_path / "photos" / f"new {i}.png").write_bytes(draw(i + 90))
    plan = run(tmp_path / "photos", dry_run=True).forecast
    assert (plan["images"], plan["images_per_second"]) == (3, first.images_per_second)
    assert plan["rate_source"].startswith(f"run {first.run} in this space, ")
    second = run(tmp_path / "photos", price=1.0)
    assert (second.new, second.kinds["new"], second.reused) == (3, 3, 5)
    assert second.forecast == {**plan, "price": second.forecast["price"]}
    assert second.saved_seconds == pytest.approx(5 / first.images_per_second, abs=0.1)
    report = json.loads((Path(second.report or "").parent / "report.json").read_text())
    assert report["forecast"]["images"] == 3
    assert report["kinds"]["new"] == 3
    assert report["cost"] == second.cost == round(second.seconds / 3600, 2)


def test_the_first_run_of_a_space_has_a_forecast_and_a_cost_in_its_report(run: Run, make_corpus: MakeCorpus) -> None:
    result = run(make_corpus(5), price=1e6)
    report = json.loads((Path(result.report or "").parent / "report.json").read_text())
    assert (report["forecast"]["images"], report["forecast"]["shards"], report["forecast"]["price"]) == (5, 1, None)
    assert report["cost"] == pytest.approx(report["seconds"]["total"] / 3600 * 1e6, rel=0.01)
    assert f"{report['cost']:,.2f} in money" in Path(result.report or "").read_text()


def test_labels_that_changed_are_counted_where_the_image_is_the_same(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(6)
    keys = sorted(path.relative_to(corpus).as_posix() for path in corpus.rglob("*.*g"))

    def write(labels: list[str]) -> Path:
        rows = [f"{key},{label},train" for key, label in zip(keys, labels, strict=True)]
        (corpus / "list.csv").write_text("\n".join(["path,label,split", *rows]))
        return corpus / "list.csv"

    assert run(write(["a", "a", "a", "", "", "a"])).relabelled == 0
    (corpus / keys[5]).write_bytes(draw(900, format_name="PNG" if keys[5].endswith("png") else "JPEG"))
    listed = write(["b", "", "a", "a", "", "b"])  # the last one is another image: changed, not relabelled
    assert run(listed, dry_run=True).relabelled == 3
    result = run(listed)
    assert (result.relabelled, result.changed, result.read) == (3, 1, 1)
    assert run(listed).relabelled == 0
    (corpus / "list.csv").write_text(listed.read_text().replace("train", "test"))
    assert run(listed).relabelled == 6


def test_a_set_in_another_space_is_refused_and_the_fields_named(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(3)
    run(corpus)
    with pytest.raises(SpaceMismatchError, match="they differ in weights:"):
        run(corpus, recipe=replace(RECIPE, weights="random:2"))
    with pytest.raises(SpaceMismatchError, match="they differ in graph, input_size:"):
        run(corpus, recipe=replace(RECIPE, input_size=64))
    with pytest.raises(SpaceMismatchError, match="they differ in pooling, dtype:"):
        run(corpus, recipe=replace(RECIPE, pooling="max", dtype="float16"))


def test_a_dry_run_on_a_set_in_another_space_is_refused_too(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(3)
    run(corpus)
    with pytest.raises(SpaceMismatchError):
        run(corpus, recipe=replace(RECIPE, weights="random:2"), dry_run=True)


def test_another_corpus_is_refused_and_a_moved_one_goes_on_under_its_id(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(3)
    first = run(corpus)
    moved = corpus.rename(corpus.with_name("moved"))
    with pytest.raises(ConflictError, match=f"--corpus-id {first.corpus}"):
        run(moved)
    assert account(run(moved, corpus_id=first.corpus)) == (0, 0, 3, 3, 0, 0)


def as_another_engine_made_it(first: ExtractResult) -> None:
    """Gives version 1 golden embeddings far from those that workers here make."""
    folder = parse_set(first.set).folder
    golden = storage.open(first.set).golden()
    entry = write_golden(GoldenImages(golden.names, golden.images, np.roll(golden.embeddings, 7, axis=-1)), folder)
    path = folder / "versions" / "00000001.json"
    manifest = read_sealed(path, "manifest")
    manifest["golden"] = {"path": entry.path, "sha256": entry.sha256, "bytes": entry.bytes, "rows": entry.rows}
    path.write_bytes(seal(manifest))


def test_drift_stops_the_run_before_any_row(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(3)
    first = run(corpus)
    as_another_engine_made_it(first)
    (corpus / "ant" / "new.png").write_bytes(draw(77))
    with pytest.raises(DriftError, match=r"golden image '(small|large)\.(jpg|png)' with cosine"):
        run(corpus)
    assert storage.open(first.set).version == 1


def test_float16_that_cannot_hold_the_features_is_refused_before_the_set_is_made(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(3)
    with pytest.raises(
        RunError, match=r"team/photos: 4 of 4 known good images .* too small for float16: 100% of it is lost .use --dtype float32"
    ):
        run(corpus, recipe=replace(RECIPE, dtype="float16"))
    assert run(corpus).rows == 3


def test_too_many_embeddings_that_cannot_be_stored_stop_the_run(run: Run, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(3)
    first = run(corpus)
    [network] = WORKERS[(RECIPE,)][0]._networks
    engine = network.engine
    (corpus / "ant" / "new.png").write_bytes(draw(300))

    class Overflowing:
        """The real engine, but infinite for a lone image: what a network that overflows looks like from outside."""

        batch_size = engine.batch_size

        def embed(self, images: Any) -> Any:
            [embeddings] = engine.embed(images)
            return [np.full_like(embeddings, np.inf) if len(images) == 1 else embeddings]

    monkeypatch.setattr(network, "engine", Overflowing())
    with pytest.raises(RunError, match=r"team/photos: 1 embeddings are not finite.*check the weights"):
        run(corpus)
    assert storage.open(first.set).version == 1


def test_maps_are_kept_without_pooling(run: Run, make_corpus: MakeCorpus) -> None:
    result = run(make_corpus(3), recipe=replace(RECIPE, pooling="none", input_size=64))
    assert storage.open(result.set).to_numpy()[1].shape == (3, 2, 2, 256)


def test_a_version_in_the_name_is_refused(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave out '@3'"):
        extract(make_corpus(1), f"{tmp_path}/features/team/photos@3", LOCAL)


def test_a_finished_run_leaves_a_report_and_its_account(run: Run, make_corpus: MakeCorpus) -> None:
    result = run(make_corpus(4))
    name = parse_set(result.set)
    report = json.loads((name.folder / "runs" / result.run / "report.json").read_text())
    assert [report["counts"][name] for name in ("listed", "rows", "rejected", "pending")] == [4, 4, 0, 0]
    assert unfinished_runs(name) == []
    assert result.report is not None
    assert "listed" in Path(result.report).read_text()
    assert report["throughput"]["points"][-1][1:4] == [4, 4, report["sizes"]["bytes_read"]]
    assert {"list", "start", "work", "wait", "infer", "decode", "wait_read"} <= result.stage_seconds.keys() <= STAGES.keys()
    state = storage.open(result.set).manifest.corpora[result.corpus]
    assert (state.listed, state.rows) == (4, 4)


def test_another_set_of_the_store_in_the_same_space_lends_its_embeddings(run: Run, make_corpus: MakeCorpus) -> None:
    first = run(make_corpus(9), "mine")
    other = make_corpus(12, "other photos")
    result = run(other, "theirs")
    assert account(result) == (12, 3, 9, 12, 0, 0)
    assert result.copied == 9
    lent, borrowed = contents(first), contents(result)
    assert all(borrowed[key][1:] == value[1:] for key, value in lent.items())
    assert account(run(other, "theirs")) == (0, 0, 12, 12, 0, 0)


@pytest.mark.parametrize("maps", [False, True])
def test_a_set_that_this_run_could_not_extend_lends_nothing_to_it_and_it_is_said(
    run: Run, make_corpus: MakeCorpus, caplog: pytest.LogCaptureFixture, maps: bool
) -> None:
    """Nor does a dry run count on it. What leads to the space by pooling is held to the same."""
    corpus = make_corpus(5)
    as_another_engine_made_it(run(corpus, "theirs", recipe=replace(RECIPE, pooling="none") if maps else RECIPE))
    said = run(corpus, "ours", dry_run=True, rehash=True)
    assert (said.copied, said.embedded) == (0, 5)
    caplog.clear()
    result = run(corpus, "ours")
    assert (account(result), result.copied) == ((5, 5, 0, 5, 0, 0), 0)
    [told] = [message for message in caplog.messages if "lends nothing" in message]
    assert "team/theirs lends nothing" in told
    assert re.search(r"golden image '(small|large)\.(jpg|png)' with cosine 0\.\d+ .* float32 features need at least 0\.99999", told)


def test_another_store_lends_when_it_is_named(run: Run, make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(6)
    run(corpus, store="theirs")
    assert account(run(corpus, "alone", store="ours")) == (6, 6, 0, 6, 0, 0)
    shutil.rmtree(tmp_path / "ours")
    result = run(corpus, store="ours", reuse_from=(str(tmp_path / "theirs"),))
    assert (account(result), result.copied, result.kinds["elsewhere"]) == ((6, 0, 6, 6, 0, 0), 6, 6)
    assert contents(result) == contents(run(corpus, store="theirs"))
    with pytest.raises(NotFoundError, match="is not a feature store"):
        run(corpus, reuse_from=(str(corpus),))


def test_who_distrusts_stamps_finds_a_change_that_they_hide(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(4)
    run(corpus)
    path = corpus / "ant" / "0001.jpg"
    status, other = path.stat(), draw(77, format_name="JPEG")
    path.write_bytes(other[: status.st_size].ljust(status.st_size, b"\0"))  # a JPEG that ends early, or has zeros behind it
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert account(run(corpus)) == (0, 0, 4, 4, 0, 0)
    result = run(corpus, rehash=True)
    assert result.read == 4
    assert (result.kinds["same"], result.kinds["new"] + result.kinds["rejected"]) == (3, 1)
    assert contents(result).get("ant/0001.jpg", (None, b""))[1] in (b"", hashlib.sha256(path.read_bytes()).digest())
    assert account(run(corpus, rehash=True))[:2] == (4, 0)


def test_a_set_in_another_space_lends_nothing(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(3)
    run(corpus, "mine")
    assert account(run(corpus, "theirs", recipe=replace(RECIPE, weights="random:2"))) == (3, 3, 0, 3, 0, 0)


@pytest.mark.parametrize("damage", ["gone", "cut off", "given up"])
def test_a_shard_that_is_gone_or_cut_off_is_embedded_again(
    run: Run, make_corpus: MakeCorpus, caplog: pytest.LogCaptureFixture, small_units: None, damage: str
) -> None:
    corpus = make_corpus(8)
    before = contents(run(corpus))
    feature_set = storage.open(run(corpus).set)
    shard = feature_set.name.folder / feature_set.manifest.shards[0].path
    if damage == "gone":
        shard.unlink()
    else:
        os.truncate(shard, 1000)
    if damage == "given up":
        repair_set(feature_set.name, give_up=True)
        assert [storage.open(feature_set.name).manifest.counts[each] for each in ("rows", "pending")] == [4, 4]
    result = run(corpus)
    assert account(result) == (4, 4, 4, 8, 0, 0)
    assert "1 shards of" in caplog.text
    assert contents(result) == before


def test_two_runs_of_one_corpus_at_once_both_end_well(run: Run, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(5)
    inner: list[ExtractResult] = []
    work = Rounds.work

    def let_another_in(rounds: Rounds, job: Job) -> list[LostUnit]:
        """Between comparing and working."""
        monkeypatch.undo()
        inner.append(run(corpus))
        return work(rounds, job)

    monkeypatch.setattr(Rounds, "work", let_another_in)
    result = run(corpus)
    assert (inner[0].version, inner[0].embedded, inner[0].twice, inner[0].shards) == (1, 5, 0, 1)
    assert (result.version, result.rows, result.pending) == (1, 5, 0)  # the other one's version says the same already
    assert not result.committed
    assert (result.embedded, result.twice, result.reused, result.shards, result.bytes) == (5, 5, 5, 0, 0)  # counted, and kept once
    assert (result.to_read, result.saved_seconds) == (5, None)


def test_a_run_that_waited_for_workers_reads_nothing_that_another_one_has_read_meanwhile(
    run: Run, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus(5)
    start = LocalExecutor.start

    def let_another_in(executor: LocalExecutor) -> list[WorkerInfo]:
        monkeypatch.undo()
        (corpus / "ant" / "later.png").write_bytes(draw(70))
        run(corpus)
        return start(executor)

    monkeypatch.setattr(LocalExecutor, "start", let_another_in)
    result = run(corpus)
    assert account(result) == (0, 0, 6, 6, 0, 0)
    assert (result.committed, result.version, result.deleted) == (False, 1, 0)


def test_what_another_run_took_from_this_one_was_not_done_twice(
    run: Run, make_corpus: MakeCorpus, small_units: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus(8)
    inner: list[ExtractResult] = []
    whole = Worker.run

    def let_another_in(self: Worker, unit: Unit, job: Job, claim: Claim) -> Receipt:
        """Before the second unit, when the first is finished."""
        if unit.id == "000001" and not inner:
            while job.run.read_receipt("000000") is None:
                time.sleep(0.01)
            monkeypatch.setattr(Worker, "run", whole)
            inner.append(run(corpus))
        return whole(self, unit, job, claim)

    monkeypatch.setattr(Worker, "run", let_another_in)
    result = run(corpus)
    assert (inner[0].embedded, inner[0].reused, inner[0].twice, inner[0].version) == (4, 4, 0, 1)
    assert (result.embedded, result.twice, result.reused, result.rows, result.committed) == (8, 4, 4, 8, False)
    assert (result.to_read, sum(result.kinds.values())) == (8, 8)


def test_two_corpora_at_once_in_one_new_set_do_not_meet(run: Run, make_corpus: MakeCorpus) -> None:
    one, other = make_corpus(3), make_corpus(4, "others")
    inner: list[ExtractResult] = []

    def let_another_in(progress: Progress) -> None:
        if progress.done and not inner:
            inner.append(run(other))

    with pytest.raises(ConflictError, match="mirrors corpus 'others-"):
        run(one, on_progress=let_another_in)
    assert storage.open(inner[0].set).manifest.corpora.keys() == {inner[0].corpus}


def test_a_store_inside_its_corpus_is_no_part_of_it(make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(3)
    first = extract(corpus, f"{corpus}/features/team/photos", LOCAL)
    again = extract(corpus, f"{corpus}/features/team/photos", LOCAL)
    assert (first.rows, again.rows, again.committed) == (3, 3, False)


def test_a_run_cleans_up_what_its_workers_left(run: Run, make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus, shards = make_corpus(4), tmp_path / "features" / "team" / "photos" / "shards"

    def leave_something(progress: Progress) -> None:
        if progress.done:
            [running] = unfinished_runs(parse_set(f"{tmp_path}/features/team/photos"))
            (shards / f".{running.run_id}0123.partial").write_bytes(b"half a shard of a killed worker")
            (shards / ".another-run0123.partial").write_bytes(b"somebody is at work on this")

    run(corpus, on_progress=leave_something)
    assert [path.name for path in shards.glob(".*")] == [".another-run0123.partial"]


def test_changes_seen_by_a_run_that_was_cut_short_are_not_read_again(run: Run, make_corpus: MakeCorpus, small_units: None) -> None:
    corpus = make_corpus(8)
    run(corpus)
    for i in (1, 2, 4, 5, 7):
        path = next((corpus / "ant").glob(f"000{i}.*"))
        path.write_bytes(draw(400 + i, format_name="JPEG" if path.suffix == ".jpg" else "PNG"))
    with pytest.raises(KeyboardInterrupt):
        run(corpus, on_progress=cut_after(4))
    result = run(corpus)
    assert result.read <= 1  # the last unit may have finished behind the interrupt's back
    assert (result.embedded, result.rows) == (result.read, 8)


def test_a_damaged_receipt_is_as_if_its_unit_had_not_been_finished(
    run: Run, make_corpus: MakeCorpus, tmp_path: Path, small_units: None
) -> None:
    corpus = make_corpus(8)
    with pytest.raises(KeyboardInterrupt):
        run(corpus, on_progress=cut_after(4))
    [unfinished] = unfinished_runs(parse_set(f"{tmp_path}/features/team/photos"))
    for receipt in (unfinished.path / "receipts").glob("*.parquet"):
        os.truncate(receipt, 100)
    result = run(corpus)
    assert (result.rows, result.pending, result.embedded) == (8, 0, result.read)
    assert result.read >= 4  # a unit that was under way may have finished, with a good receipt, after the damage


def test_the_later_state_of_a_folder_stands_whoever_commits_last(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(6)
    inner: list[ExtractResult] = []

    def change_and_let_another_in(progress: Progress) -> None:
        if progress.done and not inner:
            (corpus / "ant" / "later.png").write_bytes(draw(900))
            (corpus / "bee" / "0000.png").unlink()
            os.utime(corpus / "bee" / "0003.jpg", ns=(1, 1))
            inner.append(run(corpus))

    result = run(corpus, on_progress=change_and_let_another_in)
    assert (inner[0].version, inner[0].rows) == (1, 6)
    assert (result.listed, result.rows, result.pending) == (6, 6, 0)
    assert "ant/later.png" in contents(result)
    assert "bee/0000.png" not in contents(result)


def test_a_compaction_while_a_run_is_at_work_costs_it_nothing(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(6)
    name = replace(parse_set(run(corpus).set), at=None)
    for i in (6, 7):
        (corpus / "ant" / f"new{i}.png").write_bytes(draw(900 + i))
        run(corpus)
    (corpus / "ant" / "last.png").write_bytes(draw(999))
    compacted: list[int | None] = []

    def compact(progress: Progress) -> None:
        if progress.done and not compacted:
            compacted.append(compact_set(name, do_it=True).version)

    result = run(corpus, on_progress=compact)
    assert compacted == [4]
    assert (result.version, result.read, result.embedded, result.rows, result.twice) == (5, 1, 1, 9, 0)
    assert len(storage.open(result.set).manifest.shards) == 2, "what was compacted stays so"


def test_what_a_damaged_lender_cannot_give_is_embedded(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(5)
    lender = storage.open(run(corpus, "mine").set)
    before = contents(run(corpus, "mine"))
    shard = lender.name.folder / lender.manifest.shards[0].path
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    result = run(corpus, "theirs")
    assert account(result)[1:] == (5, 0, 5, 0, 0)
    assert contents(result) == before


def test_a_list_is_a_corpus_with_labels_splits_and_attributes(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(5)
    rows = ["path,label,split,price", "ant/0001.jpg,small,train,10", "bee/0000.png,,test,", "ant/gone.jpg,small,train,3"]
    (corpus / "list.csv").write_text("\n".join([*rows, "ant/0001.jpg,large,train,4"]))
    result = run(corpus / "list.csv")
    assert account(result) == (2, 2, 0, 2, 2, 0)
    assert result.reasons == {"missing": 1, "repeated-key": 1}
    items = storage.open(result.set).items.select(["key", "label", "split", "price"]).to_pylist()
    assert items == [
        {"key": "ant/0001.jpg", "label": "small", "split": "train", "price": "10"},
        {"key": "bee/0000.png", "label": None, "split": "test", "price": None},
    ]
    assert account(run(corpus / "list.csv")) == (0, 0, 2, 2, 2, 0)
    (corpus / "list.csv").write_text("\n".join(["path,label,price", "ant/0001.jpg,huge,11", "bee/0000.png,tiny,12"]))
    again = run(corpus / "list.csv")
    assert (account(again), again.version) == ((0, 0, 2, 2, 0, 0), 2)
    assert storage.open(again.set).items["price"].to_pylist() == ["11", "12"]


def test_several_corpora_in_one_set_are_each_mirrored_on_their_own(run: Run, make_corpus: MakeCorpus) -> None:
    one, other = make_corpus(4), make_corpus(6, "others")
    first = run(one)
    with pytest.raises(ConflictError, match="To have both in the set, pass --add"):
        run(other)
    second = run(other, add=True)
    assert account(second) == (6, 2, 4, 6, 0, 0)  # four of the six are the first corpus' images
    feature_set = storage.open(second.set)
    assert feature_set.manifest.counts["rows"] == 10
    assert feature_set.items["corpus"].to_pylist() == sorted([first.corpus] * 4 + [second.corpus] * 6)
    (one / "bee" / "0000.png").unlink()
    third = run(one)  # known to the set: no --add needed
    assert (third.rows, third.deleted, storage.open(third.set).manifest.counts["rows"]) == (3, 1, 9)
    assert account(run(other)) == (0, 0, 6, 6, 0, 0)


def test_two_corpora_that_are_added_at_once_both_land(run: Run, make_corpus: MakeCorpus) -> None:
    one, other = make_corpus(3), make_corpus(4, "others")
    inner: list[ExtractResult] = []

    def let_another_in(progress: Progress) -> None:
        if progress.done and not inner:
            inner.append(run(other, add=True))

    result = run(one, on_progress=let_another_in, add=True)
    assert storage.open(result.set).manifest.corpora.keys() == {inner[0].corpus, result.corpus}
    assert storage.open(result.set).manifest.counts["rows"] == 7


def test_pooled_features_are_derived_from_stored_maps_without_decoding(run: Run, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(5)
    small = replace(RECIPE, input_size=64)
    run(corpus, "maps", recipe=replace(small, pooling="none"))
    derived = run(corpus, "pooled", recipe=small)
    assert account(derived) == (5, 0, 5, 5, 0, 0)
    computed = contents(run(corpus, "pooled", store="elsewhere", recipe=small))
    for key, (label, digest, embedding) in contents(derived).items():
        assert computed[key][:2] == (label, digest)
        x, y = np.frombuffer(embedding, np.float32), np.frombuffer(computed[key][2], np.float32)
        assert x @ y / np.linalg.norm(x) / np.linalg.norm(y) >= 0.99999


def test_a_disk_that_is_too_small_is_told_before_the_work(run: Run, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(5)
    monkeypatch.setattr("extractor.refusals.free_bytes", lambda folder: 5 * 4 * 256)  # the embeddings would fit, but nothing else
    with pytest.raises(RunError, match=r"5 images to read may take .* KiB in .*--no-disk-check"):
        run(corpus)
    assert run(corpus, check_disk=False).rows == 5
    assert account(run(corpus)) == (0, 0, 5, 5, 0, 0)  # nothing to read needs no room


def test_every_shard_format_holds_the_same_and_lends_to_the_others(run: Run, make_corpus: MakeCorpus, small_units: None) -> None:
    corpus = make_corpus(9)
    made = {name: run(corpus, "own", store=name, format=name) for name in SHARD_FORMATS}
    assert all(contents(result) == contents(made["parquet"]) for result in made.values())
    for name in SHARD_FORMATS:
        for other in SHARD_FORMATS:
            borrowed = run(corpus, f"borrowed-by-{other}", store=name, format=other)
            assert (borrowed.embedded, borrowed.copied, borrowed.rows) == (0, 9, 9)
            assert contents(borrowed) == contents(made[name])


def test_a_cancelled_run_keeps_what_it_finished_and_says_so(
    run: Run, make_corpus: MakeCorpus, tmp_path: Path, small_units: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extractor.heartbeat.BEAT_SECONDS", 0.02)
    corpus, name = make_corpus(20), parse_set(f"{tmp_path}/features/team/photos")

    def cancel(progress: Progress) -> None:
        if progress.done == 8:
            [status] = run_statuses(name)
            assert (status.state, status.total) == ("running", 20)
            cancel_run(name, status.run)
            time.sleep(0.5)

    with pytest.raises(RunCancelledError, match="what was finished is kept"):
        run(corpus, on_progress=cancel)
    [status] = run_statuses(name)
    assert status.state == "cancelled"
    assert status.done is not None
    assert status.done >= 8  # by receipts: a unit under way may have ended since
    result = run(corpus)
    assert (result.rows, result.read <= 12) == (20, True)
    assert [status.state for status in run_statuses(name)] == ["cancelled", "finished"]


def test_a_run_that_fails_is_recorded_as_failed(run: Run, make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(3)
    (tmp_path / "features" / "team" / "photos").mkdir(parents=True)
    (tmp_path / "features" / "team" / "photos" / "shards").write_text("in the way: no unit can write its shard")
    with pytest.raises(RunError, match="no unit could be finished"):
        run(corpus)
    [status] = run_statuses(parse_set(f"{tmp_path}/features/team/photos"))
    assert status.state == "failed"
    assert "no unit could be finished" in status.message


@pytest.fixture
def default_sigterm() -> Iterator[None]:
    """SIGTERM as a program finds it: tests that connected to Ray before may have left Ray's handler, which ends this process."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_lets_units_under_way_end_and_begins_no_other(
    run: Run, make_corpus: MakeCorpus, tmp_path: Path, small_units: None, monkeypatch: pytest.MonkeyPatch, default_sigterm: None
) -> None:
    whole = Worker.run
    monkeypatch.setattr(Worker, "run", lambda *args: (time.sleep(0.2), whole(*args))[1])

    def terminate(progress: Progress) -> None:
        if progress.done == 8:
            time.sleep(0.1)  # the third unit is under way now, and perhaps the fourth and the fifth
            os.kill(os.getpid(), signal.SIGTERM)

    corpus, name, before = make_corpus(28), parse_set(f"{tmp_path}/features/team/photos"), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run(corpus, on_progress=terminate)
    assert signal.getsignal(signal.SIGTERM) is before
    [status] = run_statuses(name)
    assert status.state == "interrupted"
    assert status.done in (12, 16, 20)
    assert account(run(corpus)) == (28 - status.done, 28 - status.done, status.done, 28, 0, 0)


def test_units_that_do_not_end_in_the_time_of_grace_are_handed_back(
    run: Run, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch, default_sigterm: None
) -> None:
    monkeypatch.setattr("extractor.local_executor.CHECK_SECONDS", 0.02)
    monkeypatch.setattr(Worker, "run", lambda *args: time.sleep(3600))
    corpus = make_corpus(3)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(corpus, on_progress=lambda _: os.kill(os.getpid(), signal.SIGTERM), grace=0.1)
    with pytest.raises(RunError, match=r"unit 000000 has not ended within 0\.2 s \(--unit-deadline\)"):
        run(corpus, unit_deadline=0.2)
    assert time.monotonic() - started < 60


def test_a_full_disk_ends_the_run_in_words_that_say_what_is_kept(run: Run, make_corpus: MakeCorpus, small_units: None) -> None:
    """The limit on file sizes is the border of the disk here: Linux has none for a folder that a test may set."""
    corpus = make_corpus(40)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(progress: Progress) -> None:
        if progress.done == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))

    try:
        with pytest.raises(DiskFullError, match=r"no room is left to write in .*File too large.*images to read were finished and are kept"):
            run(corpus, on_progress=limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run(corpus).read <= 36


def test_an_image_that_breaks_its_worker_is_a_reject_and_is_not_tried_by_later_runs(
    run: Run, make_corpus: MakeCorpus, tmp_path: Path, small_units: None
) -> None:
    corpus = make_corpus(12)
    mark(corpus / "ant" / "0004.png", RAISE)
    with breaking_decoder():
        result = run(corpus)
        assert (result.rows, result.pending, result.reasons) == (11, 0, {"fatal": 1})
        (parse_set(result.set).folder / "runs" / result.run / "report.json").unlink()  # as if it had died before its end
        shutil.rmtree(parse_set(result.set).folder / "versions")
        with pytest.raises(ConflictError, match=r"version 1 of .* should be there and is not"):
            run(corpus)
        (parse_set(result.set).folder / "hint.json").unlink()
        assert account(run(corpus)) == (0, 0, 11, 11, 1, 0)
        assert account(run(corpus)) == (0, 0, 11, 11, 1, 0)


def test_a_worker_that_breaks_blames_no_image(
    run: Run, make_corpus: MakeCorpus, small_units: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, worker = make_corpus(60), WORKERS.setdefault((RECIPE,), [WarmWorker((RECIPE,))])[0]
    [network] = worker._networks

    class FallenOff:
        """A GPU that is gone: each operation fails from now on."""

        batch_size = network.batch_size

        def embed(self, images: Any) -> Any:
            raise tf.errors.InternalError(None, None, "CUDA error: device not found")

    def fall_off(progress: Progress) -> None:
        if progress.done == 4:
            monkeypatch.setattr(network, "engine", FallenOff())
            worker.known.clear()

    with pytest.raises(RunError, match=r"a worker no longer embeds known good images\. It broke with: InternalError: CUDA error"):
        run(corpus, on_progress=fall_off)
