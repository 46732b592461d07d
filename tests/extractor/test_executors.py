"""One contract for both executors: every unit gets one result, images are embedded once, and a broken part costs only itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from extractor.executor import Executor
from extractor.folder_corpus import list_folder
from extractor.golden_images import draw_golden_images
from extractor.job import Job
from extractor.local_executor import LocalExecutor
from extractor.plan import Unit
from extractor.receipt import Receipt
from extractor.unit_queue import LostUnit
from extractor.worker import Worker
from storage.digests import words_of
from storage.errors import DriftError
from storage.golden import GoldenImages, no_golden_images
from storage.runs import RunFolder
from storage.shard import SHARD_FORMATS, ShardLayout
from tests.extractor.conftest import SMALL_START
from tests.extractor.marked import RAISE, BreakingRayExecutor, breaking_decoder, mark
from tests.extractor.warm import WarmExecutor

pytestmark = pytest.mark.slow

RECIPE = SMALL_START


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(lambda: LocalExecutor((RECIPE,), 1), id="local-1", marks=pytest.mark.full),
        pytest.param(lambda: LocalExecutor((RECIPE,), 2), id="local-2", marks=pytest.mark.slow),
        pytest.param(lambda: BreakingRayExecutor((RECIPE,), 2), id="ray-2", marks=pytest.mark.slow),
    ],
)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    made: Executor = request.param()
    with breaking_decoder():
        made.start()
        yield made
        made.close()


def make_job(executor: Executor, source: Path, set_folder: Path) -> Job:
    images = tuple(draw_golden_images().values())
    [embeddings] = executor.embed_images(images)
    layout = ShardLayout(embeddings.shape[1:], "float32", "space")
    return Job(RunFolder(set_folder, "run"), "photos", source, "parquet", layout, GoldenImages(("a", "b", "c", "d"), images, embeddings))


def units_of(source: Path, size: int) -> list[Unit]:
    items = list(list_folder(source).items)
    return [Unit(f"{start:06d}", tuple(items[start : start + size])) for start in range(0, len(items), size)]


def embeddings_by_digest(job: Job, results: list[Receipt | LostUnit]) -> dict[bytes, np.ndarray]:
    found: dict[bytes, np.ndarray] = {}
    for result in results:
        assert isinstance(result, Receipt)
        if result.shard:
            reader = SHARD_FORMATS["parquet"].reader(job.run.set_folder / result.shard.path)
            for digest, row in zip(reader.digests(), reader.read(0, reader.rows), strict=True):
                assert digest not in found, "an image was embedded twice"
                found[digest] = row
    return found


def test_each_unit_gives_one_receipt_and_each_image_one_row(executor: Executor, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    source = make_corpus(21)
    job = make_job(executor, source, tmp_path / "set")
    executor.begin(job, [[]])
    results = list(executor.run(units_of(source, 5)))
    assert sorted(r.unit for r in results if isinstance(r, Receipt)) == ["000000", "000005", "000010", "000015", "000020"]
    assert len(embeddings_by_digest(job, results)) == 21
    assert sum(r.counters["read"] for r in results if isinstance(r, Receipt)) == 21
    assert all(job.run.read_receipt(r.unit) is not None for r in results if isinstance(r, Receipt))


@pytest.mark.slow
def test_a_set_without_golden_images_can_be_extended(executor: Executor, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    """An imported one."""
    source = make_corpus(2)
    job = make_job(executor, source, tmp_path / "set")
    job = replace(job, golden=no_golden_images(job.layout.shape, "float32"))
    executor.begin(job, [[]])
    assert len(embeddings_by_digest(job, list(executor.run(units_of(source, 2))))) == 2


@pytest.mark.slow
def test_values_equal_those_of_one_plain_worker(executor: Executor, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    source = make_corpus(12)
    job = make_job(executor, source, tmp_path / "set")
    executor.begin(job, [[]])
    found = embeddings_by_digest(job, list(executor.run(units_of(source, 4))))
    plain = LocalExecutor((RECIPE,), 1)
    plain.start()
    other = make_job(plain, source, tmp_path / "plain")
    plain.begin(other, [[]])
    expected = embeddings_by_digest(other, list(plain.run(units_of(source, 12))))
    assert found.keys() == expected.keys()
    for digest, row in expected.items():
        cosine = row @ found[digest] / np.linalg.norm(row) / np.linalg.norm(found[digest])
        assert cosine >= 0.99999


@pytest.mark.slow
def test_known_images_are_read_but_not_embedded(executor: Executor, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    source = make_corpus(6)
    job = make_job(executor, source, tmp_path / "set")
    executor.begin(job, [[]])
    digests = embeddings_by_digest(job, list(executor.run(units_of(source, 6)))).keys()
    executor.begin(job, [[words_of(list(digests))]])
    [receipt] = list(executor.run(units_of(source, 6)))
    assert isinstance(receipt, Receipt)
    assert receipt.shard is None
    assert receipt.counters == {"read": 6, "bytes_read": receipt.counters["bytes_read"], "decoded": 0, "embedded": 0}


@pytest.mark.slow
def test_duplicates_across_units_are_embedded_once(executor: Executor, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    source = make_corpus(8)
    for path in list(source.rglob("*.*")):
        path.with_name(f"copy-{path.name}").write_bytes(path.read_bytes())
    job = make_job(executor, source, tmp_path / "set")
    executor.begin(job, [[]])
    results = list(executor.run(units_of(source, 3)))
    assert len(embeddings_by_digest(job, results)) == 8
    assert sum(r.counters["embedded"] for r in results if isinstance(r, Receipt)) == 8


def test_a_bad_image_costs_no_other_its_row(executor: Executor, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    source = make_corpus(9)
    (source / "ant" / "0001.jpg").write_bytes((source / "ant" / "0001.jpg").read_bytes()[:300])
    (source / "ant" / "0002.png").write_bytes(b"no image")
    job = make_job(executor, source, tmp_path / "set")
    executor.begin(job, [[]])
    results = list(executor.run(units_of(source, 4)))
    assert len(embeddings_by_digest(job, results)) == 7
    rejects = pa.concat_tables([r.items for r in results if isinstance(r, Receipt)]).drop_null().to_pylist()
    assert rejects == []  # a reject has no row, a row no reason
    reasons = {r["key"]: r["reason"] for result in results if isinstance(result, Receipt) for r in result.items.to_pylist() if r["reason"]}
    assert reasons == {"ant/0001.jpg": "corrupt", "ant/0002.png": "not-an-image"}


@pytest.mark.slow
def test_a_unit_that_cannot_be_written_is_lost_in_words(executor: Executor, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    source = make_corpus(3)
    job = make_job(executor, source, tmp_path / "set")
    executor.begin(job, [[]])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "shards").write_text("in the way")
    [lost] = list(executor.run(units_of(source, 3)))
    assert isinstance(lost, LostUnit)
    assert "shards" in lost.message or "exist" in lost.message.lower()


@pytest.mark.slow
def test_claims_of_a_lost_unit_are_free_again(executor: Executor, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    source = make_corpus(3)
    job = make_job(executor, source, tmp_path / "set")
    executor.begin(job, [[]])
    obstacle = tmp_path / "set" / "shards"
    obstacle.parent.mkdir()
    obstacle.write_text("in the way")
    assert [type(r) for r in executor.run(units_of(source, 3))] == [LostUnit]
    obstacle.unlink()
    again = [Unit("000009", units_of(source, 3)[0].items)]
    assert len(embeddings_by_digest(job, list(executor.run(again)))) == 3


def test_an_image_that_breaks_its_worker_is_a_reject_and_so_are_its_copies(
    executor: Executor, make_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    source = make_corpus(12)
    mark(source / "ant" / "0002.png", RAISE)
    (source / "bee" / "copy.png").write_bytes((source / "ant" / "0002.png").read_bytes())
    job = make_job(executor, source, tmp_path / "set")
    executor.begin(job, [[]])
    results = list(executor.run(units_of(source, 8)))
    assert len(embeddings_by_digest(job, results)) == 11
    items = [row for result in results if isinstance(result, Receipt) for row in result.items.to_pylist()]
    assert len(items) == 13
    messages = {row["message"] for row in items if row["reason"] == "fatal"}
    assert messages == {"kills, breaks or hangs its worker: RuntimeError: the decoder broke"}
    assert {row["key"] for row in items if row["row"] is None} == {"ant/0002.png", "bee/copy.png"}
    assert all(job.run.read_receipt(result.unit) is not None for result in results if isinstance(result, Receipt))


def test_a_drained_run_ends_with_what_was_under_way(executor: Executor, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    source = make_corpus(40)
    job = make_job(executor, source, tmp_path / "set")
    executor.begin(job, [[]])
    running = executor.run(units_of(source, 2))
    results = [next(running)]
    executor.drain()
    results += running
    assert len(results) < 20
    assert all(isinstance(result, Receipt) and job.run.read_receipt(result.unit) is not None for result in results)


def test_drift_is_refused_before_any_unit(executor: Executor, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    job = make_job(executor, make_corpus(3), tmp_path / "set")
    shifted = GoldenImages(job.golden.names, job.golden.images, np.roll(job.golden.embeddings, 1, axis=1))
    with pytest.raises(DriftError, match=r"golden image '[abcd]' with cosine"):
        executor.begin(Job(job.run, job.corpus, job.base, job.format, job.layout, shifted), [[]])


class StopError(Exception):
    pass


def test_a_check_that_raises_ends_the_run_in_the_middle_of_a_unit(
    executor: Executor, make_corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test here: it leaves the executor with a unit under way."""
    for where in ("local_executor", "dispatch"):
        monkeypatch.setattr(f"extractor.{where}.CHECK_SECONDS", 0.005)
    source = make_corpus(48)
    executor.begin(make_job(executor, source, tmp_path / "set"), [[]])

    def check() -> None:
        raise StopError

    with pytest.raises(StopError):
        list(executor.run(units_of(source, 48), check))


def test_a_local_worker_is_built_when_there_is_a_unit_for_it(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    class Counting(WarmExecutor):
        built = 0

        def _new_worker(self) -> Worker:
            self.built += 1
            return super()._new_worker()

    source = make_corpus(2)
    executor = Counting((RECIPE,), 1000)
    assert len(executor.start()) == 1000
    executor.begin(make_job(executor, source, tmp_path / "set"), [[]])
    assert executor.built == 1
    assert len(list(executor.run(units_of(source, 1)))) == 2
    assert executor.built == 2
