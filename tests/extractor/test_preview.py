"""An exact dry run says what the run after it does, and leaves no trace."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extractor import ExtractOptions, ExtractResult, Progress, extract
from extractor.limits import Limits
from extractor.preview import preview
from tests.conftest import draw
from tests.extractor.conftest import SMALL_START
from tests.extractor.warm import keep_workers_warm

pytestmark = pytest.mark.slow

OPTIONS = ExtractOptions(
    SMALL_START,
    local=True,
    limits=Limits(bytes=10_000),
)
SAME_IN_BOTH = (
    "listed",
    "read",
    "decoded",
    "embedded",
    "copied",
    "reused",
    "rows",
    "rejected",
    "pending",
    "reasons",
    "kinds",
    "new",
    "changed",
)

MakeCorpus = Callable[..., Path]


@pytest.fixture(autouse=True)
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_workers_warm(monkeypatch)
    monkeypatch.setattr("extractor.plan.MIN_UNIT_ITEMS", 4)
    monkeypatch.setattr("extractor.plan.UNITS_AIMED_AT", 10**6)


def run(corpus: Path, name: Path, on_progress: Callable[[Progress], None] = lambda _: None, **options: Any) -> ExtractResult:
    return extract(corpus, name, replace(OPTIONS, **options), on_progress)


def files_below(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def lived_in(corpus: Path, other: Path) -> None:
    """What happens to folders: an image of each kind, and some more."""
    (corpus / "ant" / "0001.jpg").rename(corpus / "ant" / "renamed.jpg")
    shutil.copy(corpus / "bee" / "0000.png", corpus / "bee" / "copy.png")
    shutil.copy(other / "theirs.png", corpus / "ours.png")
    (corpus / "new.png").write_bytes(draw(200))
    (corpus / "new too.png").write_bytes(draw(201))
    (corpus / "new copy.png").write_bytes(draw(201))
    (corpus / "ant" / "0002.png").touch()
    (corpus / "huge.png").write_bytes(b"x" * 20_000)
    (corpus / "empty.png").write_bytes(b"")


def test_it_says_what_the_run_then_does_and_writes_nothing(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus, other, team = make_corpus(9), tmp_path / "other", tmp_path / "features" / "team"
    (corpus / "bad.png").write_bytes(b"no image at all")
    run(corpus, team / "photos")
    other.mkdir()
    (other / "theirs.png").write_bytes(draw(300))
    run(other, team / "others")
    lived_in(corpus, other)
    before, told = files_below(tmp_path), []
    said = run(corpus, team / "photos", told.append, dry_run=True, rehash=True, price=1.0)
    assert files_below(tmp_path) == before
    assert [(p.done, p.total) for p in told] == [(4, 17), (8, 17), (12, 17), (16, 17), (17, 17)]
    assert {kind: n for kind, n in said.kinds.items() if n} == {
        "new": 2, "renamed": 1, "duplicate": 2, "elsewhere": 1, "same": 8, "rejected": 3
    }  # fmt: skip
    assert (said.forecast["exact"], said.forecast["images"], said.to_read) == (True, 2, 17)
    assert said.forecast["images_per_second"] > 0
    done = run(corpus, team / "photos", rehash=True)
    assert {name: getattr(said, name) for name in SAME_IN_BOTH} == {name: getattr(done, name) for name in SAME_IN_BOTH}


def test_another_store_lends_in_it_too(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    corpus = make_corpus(5)
    run(corpus, tmp_path / "theirs" / "team" / "photos")
    said = run(corpus, tmp_path / "ours" / "team" / "photos", dry_run=True, rehash=True, reuse_from=(str(tmp_path / "theirs"),))
    assert (said.kinds["elsewhere"], said.copied, said.embedded, said.rows) == (5, 5, 0, 5)
    assert (said.forecast["images"], said.forecast["seconds"]) == (0, 0.0), "nothing is tried where nothing is to be embedded"
    assert not (tmp_path / "ours").exists()


def test_without_rehash_stamps_decide_and_no_file_is_read(make_corpus: MakeCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(f"{preview.__module__}.read_content", never)
    said = run(make_corpus(5), tmp_path / "features" / "team" / "photos", dry_run=True)
    assert (said.read, said.to_read, said.kinds["pending"]) == (0, 5, 5)
    assert not said.forecast["exact"]
