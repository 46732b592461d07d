"""What was taken down does not come back with the next extraction, whatever its file is called by then."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import storage
from extractor import Also, ExtractOptions, ExtractResult, Progress, extract
from storage.names import parse_set
from storage.takedown import Request, Takedown, take_down
from storage.verify import verify_set
from tests.conftest import draw
from tests.extractor.conftest import SMALL_START
from tests.extractor.warm import keep_workers_warm
from tests.storage.traces import traces

RECIPE = SMALL_START
LOCAL = ExtractOptions(RECIPE, local=True)
Run = Callable[..., ExtractResult]
MakeCorpus = Callable[..., Path]


@pytest.fixture(autouse=True)
def warm_local_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_workers_warm(monkeypatch)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def go(corpus: Path, name: str = "photos", on_progress: Any = lambda _: None, store: str = "features", **options: Any) -> ExtractResult:
        return extract(corpus, f"{tmp_path}/{store}/team/{name}", replace(LOCAL, **options), on_progress)

    return go


def image_down(root: Path, file: Path, name: str | None = None) -> Takedown:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return take_down(root, parse_set(f"{root}/team/{name}") if name else None, Request(images=(digest,)), do_it=True)


def embedding(result: ExtractResult, key: str) -> bytes:
    keys, embeddings = storage.open(result.set).to_numpy()
    return embeddings[keys.index(key)].tobytes()


def counts(result: ExtractResult) -> tuple[int, int, int, int, dict[str, int]]:
    assert result.listed == result.rows + result.rejected + result.pending
    assert sum(result.kinds.values()) == result.to_read
    return result.read, result.rows, result.rejected, result.pending, result.skipped


@pytest.mark.slow
def test_an_image_does_not_come_back(run: Run, make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus, store = make_corpus(6), tmp_path / "features"
    first = run(corpus)
    key = "ant/0001.jpg"
    value = embedding(first, key)
    assert traces(store, [value], [key])
    image_down(store, corpus / key)
    assert traces(store, [value], [key]) == []
    again = run(corpus)
    assert (counts(again), again.committed) == ((0, 5, 0, 0, {"taken-down": 1}), False), "known by key and stamp: not even read"
    os.utime(corpus / key)
    shutil.copy(corpus / key, corpus / "ant" / "another.jpg")
    (corpus / "ant" / "new.png").write_bytes((corpus / "bee" / "0000.png").read_bytes())
    told = run(corpus, dry_run=True, rehash=True)
    assert (told.rows, told.embedded, told.kinds["taken_down"]) == (6, 0, 2)
    third = run(corpus)
    assert counts(third) == (3, 6, 0, 0, {"taken-down": 2})
    assert (third.embedded, third.kinds["taken_down"], third.complete) == (0, 2, True)
    assert traces(store, [value], [key, "ant/another.jpg"]) == []
    assert verify_set(parse_set(third.set), full=True).findings == ()
    assert run(corpus).committed is False


@pytest.mark.slow
def test_a_key_does_not_come_back_and_its_image_does_under_another(run: Run, make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus, store = make_corpus(4), tmp_path / "features"
    first = run(corpus)
    key = "ant/0001.jpg"
    take_down(store, parse_set(first.set), Request(keys=(key,)), do_it=True)
    os.utime(corpus / key)
    assert counts(run(corpus)) == (0, 3, 0, 0, {"taken-down": 1})
    (corpus / key).rename(corpus / "ant" / "renamed.jpg")
    assert counts(run(corpus))[1:] == (4, 0, 0, {})
    assert traces(store, [], [key]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["photos", "others"])
def test_a_key_stays_away_where_another_set_reads_it(name: str, run: Run, make_corpus: MakeCorpus, tmp_path: Path) -> None:
    """Its image was embedded once more, into a shard of the new version. Under another name it comes back."""
    corpus, store = make_corpus(6), tmp_path / "features"
    key, recipes = "ant/0001.jpg", {"photos": RECIPE, "others": replace(RECIPE, layer="conv_pw_1_relu")}
    first = run(corpus, name, recipe=recipes[name])
    value = embedding(first, key)
    take_down(store, parse_set(first.set), Request(keys=(key,)), do_it=True)
    (corpus / "ant" / "new.jpg").write_bytes(draw(99, format_name="JPEG"))
    both = run(corpus, also=(Also(f"{store}/team/others", recipes["others"]),))
    mine, other = sorted(both.all_sets, key=lambda each: each.rows)
    assert mine.set.endswith(name)
    assert [(each.rows, each.embedded, each.twice) for each in (mine, other)] == [(6, 1, 0), (7, 7, 0)]
    assert traces(store / "team" / name, [value], [key]) == []
    for each in both.all_sets:
        assert verify_set(parse_set(each.set), full=True).findings == ()
    shutil.copy(corpus / key, corpus / "ant" / "twin.jpg")
    again = run(
        corpus, also=(Also(f"{store}/team/others", recipes["others"]), Also(f"{store}/team/third", replace(RECIPE, layer="conv_pw_3_relu")))
    )
    assert [(each.rows, each.embedded, each.twice) for each in again.all_sets if each.set.endswith(name)] == [(7, 1, 0)]
    assert [(each.rows, each.complete) for each in again.all_sets if not each.set.endswith(name)] == [(8, True), (8, True)]


@pytest.mark.full
def test_nor_from_another_set_or_store(run: Run, make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus, store = make_corpus(4), tmp_path / "features"
    key = "ant/0001.jpg"
    value = embedding(run(corpus, store="others"), key)
    run(corpus)
    image_down(store, corpus / key)
    borrowed = run(corpus, "copy", corpus_id="again", reuse_from=(f"{tmp_path}/others",))
    assert (borrowed.embedded, borrowed.copied, borrowed.rows) == (0, 3, 3)
    assert traces(store, [value], [key]) == []


@pytest.mark.full
def test_of_several_sets_only_one_has_it(run: Run, make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus, store = make_corpus(4), tmp_path / "features"
    key = "ant/0001.jpg"
    run(corpus)
    done = image_down(store, corpus / key, "photos")
    (corpus / key).rename(corpus / "ant" / "0000.jpg")
    further = Also(f"{tmp_path}/others/team/photos", RECIPE)
    both = run(corpus, also=(further,))
    assert [each.rows for each in both.all_sets] == [3, 4]
    assert traces(store, [], [key, "ant/0000.jpg"]) == []
    assert done.done


@pytest.mark.slow
def test_a_takedown_while_a_run_is_at_work(run: Run, make_corpus: MakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its finished units hold the image, and so do its worker's answers; what it commits does not."""
    monkeypatch.setattr("extractor.plan.MIN_UNIT_ITEMS", 4)
    monkeypatch.setattr("extractor.plan.UNITS_AIMED_AT", 10**6)
    corpus, store = make_corpus(12), tmp_path / "features"
    value = embedding(run(corpus, store="elsewhere"), "ant/0001.jpg")
    (corpus / "ant" / "copy.jpg").write_bytes((corpus / "ant" / "0001.jpg").read_bytes())
    unreached: list[str] = []

    def strike(progress: Progress) -> None:
        if progress.done == 8 and not unreached:
            unreached.extend(image_down(store, corpus / "ant" / "0001.jpg").unreached)

    result = run(corpus, on_progress=strike)
    assert "is at work" in unreached[0]
    assert (result.rows, result.skipped) == (11, {"taken-down": 2})
    assert (result.embedded, result.twice, result.reused) == (12, 0, 0), "its own shards, which the takedown wrote anew"
    assert traces(store, [value], ["ant/0001.jpg", "ant/copy.jpg"]) == []
    assert verify_set(parse_set(result.set), full=True).findings == ()
